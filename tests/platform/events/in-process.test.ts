import { expect, test } from 'vitest'
import { createInProcessEvents } from '../../../src/platform/events/in-process.ts'
import { eventsContract } from '../../contracts/events.ts'

eventsContract(async () => {
  const events = createInProcessEvents()
  return { publisher: events, subscriber: events, [Symbol.asyncDispose]: () => events.close() }
})

test('has delivered when publish resolves', async () => {
  const events = createInProcessEvents()
  const received: unknown[] = []
  await events.subscribe('topic', (message) => received.push(message))
  await events.publish('topic', 1)

  expect(received).toEqual([1])
  await events.close()
})

test('serialises a message once, however many listen, and not at all for nobody', async () => {
  const events = createInProcessEvents()
  let serialised = 0
  const message = { toJSON: () => ({ n: (serialised += 1) }) }
  const received: unknown[] = []
  for (let n = 0; n < 20; n += 1) await events.subscribe('topic', (json) => received.push(json))
  await events.publish('nobody', message)
  await events.publish('topic', message)

  expect(serialised).toBe(1)
  expect(received).toEqual(Array.from({ length: 20 }, () => ({ n: 1 })))
  await events.close()
})
