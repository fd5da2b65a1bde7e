import { RateLimiterRes, type RateLimiterAbstract } from 'rate-limiter-flexible'
import type { Attempt, AttemptsOptions, Taken } from './throttles.ts'

/** How long the number of a key's locks is remembered, from the first on. */
const levelsSeconds = 24 * 3_600

/** Makes a counter of rate-limiter-flexible, wherever it counts. */
export type MakeLimiter = (options: { keyPrefix: string; points: number; duration: number }) => RateLimiterAbstract

/** Counts what happens; the library tells a refusal by throwing. */
export async function takePoints(limiter: RateLimiterAbstract, key: string, points: number): Promise<Taken> {
  try {
    return toTaken(await limiter.consume(key, points), true)
  } catch (refusal) {
    if (refusal instanceof RateLimiterRes) return toTaken(refusal, false)
    throw refusal
  }
}

function toTaken({ remainingPoints, msBeforeNext }: RateLimiterRes, isAllowed: boolean): Taken {
  return { isAllowed, remaining: isAllowed ? remainingPoints : 0, resetMs: Math.max(0, msBeforeNext) }
}

/**
 * | attempt of the window  | outcome                                                                        |
 * |------------------------|--------------------------------------------------------------------------------|
 * | 1 … maxFailures − 1    | allowed                                                                        |
 * | maxFailures            | allowed, and locks: the lock must be there before anybody knows how it came out |
 * | more                   | refused until the lock ends; then the window begins anew, with a longer lock   |
 *
 * Success takes the lock and the memory of all locks away.
 */
export function createLimiterAttempts(
  make: MakeLimiter,
  { name, maxFailures, windowSeconds, firstLockSeconds, maxLockSeconds }: AttemptsOptions,
): (key: string) => Promise<Attempt> {
  const attempts = make({ keyPrefix: name, points: maxFailures, duration: windowSeconds })
  const levels = make({ keyPrefix: `${name}-locks`, points: Number.MAX_SAFE_INTEGER, duration: levelsSeconds })

  async function lock(key: string): Promise<void> {
    const { consumedPoints: level } = await levels.penalty(key)
    await attempts.block(key, Math.min(firstLockSeconds * 2 ** Math.min(level - 1, 30), maxLockSeconds))
  }

  async function unlock(key: string): Promise<void> {
    await levels.reward(key)
    await attempts.set(key, maxFailures - 1, windowSeconds)
  }

  return async (key) => {
    const { isAllowed, remaining, resetMs } = await takePoints(attempts, key, 1)
    if (!isAllowed) return { isAllowed, resetMs }
    const isLast = remaining === 0
    if (isLast) await lock(key)
    return {
      isAllowed,
      async succeeded() {
        await attempts.delete(key)
        await levels.delete(key)
      },
      async abandoned() {
        await (isLast ? unlock(key) : attempts.reward(key))
      },
    }
  }
}
