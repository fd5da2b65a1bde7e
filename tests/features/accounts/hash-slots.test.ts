import { describe, expect, test } from 'vitest'
import { createHashSlots } from '../../../src/features/accounts/hash-slots.ts'

/** Work that ends when it is told to. */
function gate() {
  let open: () => void = () => undefined
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return { opened, open }
}

describe('hash slots', () => {
  test('run so many at once, the others in the order they came', async () => {
    const slots = createHashSlots({ maxRunning: 1, maxWaiting: 2, maxWaitMs: 10_000 })
    const order: string[] = []
    const first = gate()
    const runs = [
      slots.run(() => first.opened.then(() => order.push('first'))),
      slots.run(async () => order.push('second')),
      slots.run(async () => order.push('third')),
    ]
    expect(order).toEqual([])
    first.open()
    await Promise.all(runs)
    expect(order).toEqual(['first', 'second', 'third'])
  })

  test('refuse with SERVER_BUSY when the queue is full, and take work again when it is not', async () => {
    const slots = createHashSlots({ maxRunning: 1, maxWaiting: 1, maxWaitMs: 10_000 })
    const first = gate()
    const running = slots.run(() => first.opened)
    const waiting = slots.run(async () => 'waited')
    await expect(slots.run(async () => 'too many')).rejects.toMatchObject({ code: 'SERVER_BUSY' })
    first.open()
    await running
    expect(await waiting).toBe('waited')
    expect(await slots.run(async () => 'free again')).toBe('free again')
  })

  test('refuse with SERVER_BUSY who has waited for too long', async () => {
    const slots = createHashSlots({ maxRunning: 1, maxWaiting: 1, maxWaitMs: 1 })
    const first = gate()
    const running = slots.run(() => first.opened)
    await expect(slots.run(async () => 'too late')).rejects.toMatchObject({ code: 'SERVER_BUSY' })
    first.open()
    await running
    expect(await slots.run(async () => 'free again')).toBe('free again')
  })

  test('are given back by work that fails', async () => {
    const slots = createHashSlots({ maxRunning: 1, maxWaiting: 0, maxWaitMs: 1 })
    await expect(slots.run(() => Promise.reject(new Error('broken')))).rejects.toThrow('broken')
    expect(await slots.run(async () => 'free again')).toBe('free again')
  })
})
