import { version } from 'uuid'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'

// The module remembers the last moment: each test has its own, or it would go on from that of the one before.
beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'] }))
afterEach(() => {
  vi.useRealTimers()
  vi.resetModules()
})

async function freshIds() {
  vi.resetModules()
  return import('../../src/lib/ids.ts')
}

test('ids are of version 7 and begin with the time', async () => {
  const { isUuid, newId } = await freshIds()
  vi.setSystemTime(1_700_000_000_000)

  const id = newId()

  expect(isUuid(id)).toBe(true)
  expect(version(id)).toBe(7)
  expect(Number.parseInt(id.replaceAll('-', '').slice(0, 12), 16)).toBe(1_700_000_000_000)
})

test('ids rise within a millisecond, and when the clock goes back', async () => {
  const { newId } = await freshIds()
  vi.setSystemTime(1_700_000_000_000)
  const ids = Array.from({ length: 2_000 }, newId)
  vi.setSystemTime(1_699_999_000_000)
  ids.push(...Array.from({ length: 2_000 }, newId))

  expect(ids.toSorted()).toEqual(ids)
  expect(new Set(ids).size).toBe(4_000)
})

test('ids of the same moment differ in what is random, too', async () => {
  const { newId } = await freshIds()
  vi.setSystemTime(1_700_000_000_000)

  const tails = Array.from({ length: 2_000 }, () => newId().slice(-10))

  expect(new Set(tails).size).toBe(2_000)
})
