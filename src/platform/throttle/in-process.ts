import { RateLimiterMemory, type RateLimiterAbstract } from 'rate-limiter-flexible'
import { createLimiterAttempts, takePoints, type MakeLimiter } from './limiter-attempts.ts'
import type { Throttles } from './throttles.ts'

/** Makes counters in this process; keys are forgotten when their window ends. */
export const makeMemoryLimiter: MakeLimiter = (options) => new RateLimiterMemory(options)

/** Limits of this process alone. */
export function createInProcessThrottles(): Throttles {
  const limiters = new Map<string, RateLimiterAbstract>()

  // One name is one limit, whoever asks for it: as it is with Redis.
  const make: MakeLimiter = (options) => {
    const limiter = limiters.get(options.keyPrefix) ?? makeMemoryLimiter(options)
    limiters.set(options.keyPrefix, limiter)
    return limiter
  }

  return {
    window({ name, points, windowSeconds }) {
      const limiter = make({ keyPrefix: name, points, duration: windowSeconds })
      return { take: (key, taken = 1) => takePoints(limiter, key, taken) }
    },
    attempts: (options) => ({ begin: createLimiterAttempts(make, options) }),
    close: () => Promise.resolve(),
  }
}
