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

test('gives what is free at once, and says when something is', async () => {
  const slots = createSlots(3)
  expect(slots.takeFree(2)).toBe(2)
  expect([slots.free(), slots.takeFree(4), slots.free(), slots.takeFree(1)]).toEqual([1, 1, 0, 0])
  let isFree = false
  const watched = slots.untilFree().then(() => (isFree = true))
  expect(isFree).toBe(false)

  slots.release()
  await watched

  expect(slots.free()).toBe(1)
})

test('whoever waits for a place comes before whoever watches for one', async () => {
  const slots = createSlots(1)
  await slots.take()
  const watched = slots.untilFree()
  const taken = slots.take()

  slots.release()
  expect(await taken).toBe(true)
  expect(slots.free()).toBe(0)
  slots.release()
  await watched
})

test('gives nobody a place once closed, also those who wait', async () => {
  const slots = createSlots(1)
  await slots.take()
  const waiting = slots.take()

  slots.close()

  expect([await waiting, await slots.take(), slots.takeFree(1), slots.free()]).toEqual([false, false, 0, 0])
  await slots.untilFree()
})

test('gives out no place while it is paused, and those that were given back then to who waited first', async () => {
  const slots = createSlots(2)
  await slots.take()
  slots.pause()
  const order: string[] = []
  const waiting = ['first', 'second', 'third'].map(async (name) => {
    if (await slots.take()) order.push(name)
  })
  slots.release()
  await new Promise((resolve) => setImmediate(resolve))
  expect(order).toEqual([])

  slots.resume()
  await Promise.all(waiting.slice(0, 2))

  expect(order).toEqual(['first', 'second'])
  slots.release()
  await waiting[2]
})

test('who waits for a place while it is paused is told when it is closed', async () => {
  const slots = createSlots(1)
  slots.pause()
  const waiting = slots.take()

  slots.close()
  slots.resume()

  expect(await waiting).toBe(false)
})
