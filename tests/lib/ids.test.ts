import { version } from 'uuid'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createNewId, isUuid } from '../../src/lib/ids.ts'

beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'] }))
afterEach(() => void vi.useRealTimers())

test('ids are of version 7 and begin with the time', () => {
  const newId = createNewId()
  vi.setSystemTime(1_700_000_000_000)

  const id = newId()

  expect(isUuid(id)).toBe(true)
  expect(version(id)).toBe(7)
  expect(Number.parseInt(id.replaceAll('-', '').slice(0, 12), 16)).toBe(1_700_000_000_000)
})

test('ids rise within a millisecond, and when the clock goes back', () => {
  const newId = createNewId()
  vi.setSystemTime(1_700_000_000_000)
  const ids = Array.from({ length: 2_000 }, newId)
  vi.setSystemTime(1_699_999_000_000)
  ids.push(...Array.from({ length: 2_000 }, newId))

  expect(ids.toSorted()).toEqual(ids)
  expect(new Set(ids).size).toBe(4_000)
})

test('ids of the same moment differ in what is random, too', () => {
  const newId = createNewId()
  vi.setSystemTime(1_700_000_000_000)

  const tails = Array.from({ length: 2_000 }, () => newId().slice(-10))

  expect(new Set(tails).size).toBe(2_000)
})
