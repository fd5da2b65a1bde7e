import { expect, test } from 'vitest'
import { createSlots } from '../../../src/features/tasks/engine/slots.ts'

test('gives out as many places as there are, then makes the next wait its turn', async () => {
  const slots = createSlots(1)
  const order: string[] = []
  expect(await slots.take()).toBe(true)
  const first = slots.take().then(() => order.push('first'))
  const second = slots.take().then(() => order.push('second'))

  slots.release()
  await first
  expect(order).toEqual(['first'])
  slots.release()
  await second
  expect(order).toEqual(['first', 'second'])
})

test('gives nobody a place once closed, also those who wait', async () => {
  const slots = createSlots(1)
  await slots.take()
  const waiting = slots.take()

  slots.close()

  expect([await waiting, await slots.take()]).toEqual([false, false])
})
