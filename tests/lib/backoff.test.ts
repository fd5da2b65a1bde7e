import { expect, test } from 'vitest'
import { fullJitterDelayMs } from '../../src/lib/backoff.ts'

test.each([
  [0, 100],
  [1, 200],
  [4, 1_600],
  [5, 2_000],
  [1_000, 2_000],
])('retry %i waits less than %i ms', (retry, ceilingMs) => {
  const delay = (random: number): number =>
    fullJitterDelayMs(retry, { initialDelayMs: 100, maxDelayMs: 2_000, random: () => random })
  expect([delay(0), delay(0.5), delay(0.999_999)]).toEqual([0, ceilingMs / 2, ceilingMs - 1])
})
