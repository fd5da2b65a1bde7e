import { expect, test } from 'vitest'
import { createBoundedQueue } from '../../src/lib/bounded-queue.ts'

const signal = new AbortController().signal
const soon = { timeoutMs: 5_000, signal }
const item = (n: number): { n: number } => ({ n })

test('hands items on in order, to a consumer that is there or comes later', async () => {
  const queue = createBoundedQueue<{ n: number }>({ maxItems: 10 })
  queue.push(item(1))
  queue.push(item(2))
  const first = [await queue.take(soon), await queue.take(soon)]
  const waiting = queue.take(soon)
  queue.push(item(3))

  expect([...first, await waiting]).toEqual([1, 2, 3].map((n) => ({ kind: 'item', item: { n } })))
})

test('refuses what does not fit, and keeps what it has', async () => {
  const queue = createBoundedQueue<{ n: number }>({ maxItems: 2 })

  expect([1, 2, 3].map((n) => queue.push(item(n)))).toEqual([true, true, false])
  expect(queue.size).toBe(2)
  expect(await queue.take(soon)).toEqual({ kind: 'item', item: { n: 1 } })
})

test('takes again after it was cleared', async () => {
  const queue = createBoundedQueue<{ n: number }>({ maxItems: 1 })
  queue.push(item(1))
  queue.clear()

  expect(queue.push(item(2))).toBe(true)
  expect(await queue.take(soon)).toEqual({ kind: 'item', item: { n: 2 } })
})

test('says when nothing came in time', async () => {
  const queue = createBoundedQueue<{ n: number }>({ maxItems: 1 })

  expect(await queue.take({ timeoutMs: 1, signal })).toEqual({ kind: 'timeout' })
  expect(await queue.take({ timeoutMs: 0, signal })).toEqual({ kind: 'timeout' })
})

test('lets a waiting consumer go when it is closed, and takes nothing more', async () => {
  const queue = createBoundedQueue<{ n: number }>({ maxItems: 1 })
  const waiting = queue.take(soon)
  queue.close()

  expect(await waiting).toEqual({ kind: 'closed' })
  expect(queue.push(item(1))).toBe(false)
  expect(await queue.take(soon)).toEqual({ kind: 'closed' })
})

test('lets a waiting consumer go when its signal is aborted', async () => {
  const queue = createBoundedQueue<{ n: number }>({ maxItems: 1 })
  const controller = new AbortController()
  const waiting = queue.take({ timeoutMs: 5_000, signal: controller.signal })
  controller.abort()

  expect(await waiting).toEqual({ kind: 'closed' })
})

test('refuses a second consumer while one waits', async () => {
  const queue = createBoundedQueue<{ n: number }>({ maxItems: 1 })
  const waiting = queue.take(soon)

  await expect(queue.take(soon)).rejects.toThrow('one consumer')
  queue.close()
  await waiting
})
