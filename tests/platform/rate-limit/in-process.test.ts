import { systemClock } from '../../../src/lib/clock.ts'
import { createInProcessRateLimits } from '../../../src/platform/rate-limit/in-process.ts'
import { rateLimitsContract } from '../../contracts/rate-limit.ts'

rateLimitsContract(async () => {
  const limits = createInProcessRateLimits({ clock: systemClock })
  return { one: limits, other: limits, [Symbol.asyncDispose]: () => limits.close() }
})
