import { RateLimiterRedis } from 'rate-limiter-flexible'
import type { Clock } from '../../lib/clock.ts'
import type { Logger } from '../logger.ts'
import type { RedisConnection } from '../redis/redis-connection.ts'
import { createRefusalLog } from '../redis/refusal-log.ts'
import { createSharedState } from '../redis/shared-state.ts'
import type { RedisServer } from '../redis/redis.ts'
import { makeMemoryLimiter } from './in-process.ts'
import { createLimiterAttempts, takePoints, type MakeLimiter } from './limiter-attempts.ts'
import type { Attempt, Throttles } from './throttles.ts'

/** How long the start waits for its connection; without one it goes on as it does when Redis is away. */
const connectLimitMs = 5_000

/** Limits that hold for all processes together; while Redis is away each process counts for itself. */
export async function createRedisThrottles({
  redis,
  clock,
  logger,
}: {
  redis: RedisServer
  clock: Clock
  logger: Logger
}): Promise<Throttles> {
  const connection = redis.connect('requests', 'throttles')
  await connection.untilReady(connectLimitMs)
  const insured = createInsurance(connection, { clock, logger })
  const makeShared: MakeLimiter = ({ keyPrefix, ...options }) =>
    new RateLimiterRedis({
      ...options,
      keyPrefix: `${redis.keyPrefix}:throttle:${keyPrefix}`,
      storeClient: connection.client,
    })

  return {
    window({ name, points, windowSeconds, pointsWithoutRedis = points }) {
      const shared = makeShared({ keyPrefix: name, points, duration: windowSeconds })
      const own = makeMemoryLimiter({ keyPrefix: name, points: pointsWithoutRedis, duration: windowSeconds })
      return {
        take: (key, taken = 1) =>
          insured(
            () => takePoints(shared, key, taken),
            () => takePoints(own, key, taken),
          ),
      }
    },
    attempts({ maxFailuresWithoutRedis, ...options }) {
      const beginShared = createLimiterAttempts(makeShared, options)
      const beginOwn = createLimiterAttempts(makeMemoryLimiter, {
        ...options,
        maxFailures: maxFailuresWithoutRedis ?? options.maxFailures,
      })
      const begin = (key: string): Promise<Attempt> =>
        insured(
          async () => insuredAttempt(await beginShared(key)),
          () => beginOwn(key),
        )
      return { begin }
    },
    close: () => connection.close(),
  }

  // What cannot be written down any more leaves a lock standing that time takes away.
  function insuredAttempt(attempt: Attempt): Attempt {
    if (!attempt.isAllowed) return attempt
    const nothing = (): Promise<void> => Promise.resolve()
    return {
      isAllowed: true,
      succeeded: () => insured(() => attempt.succeeded(), nothing),
      abandoned: () => insured(() => attempt.abandoned(), nothing),
    }
  }
}

type Insured = <T>(shared: () => Promise<T>, own: () => Promise<T>) => Promise<T>

/** Does something with Redis, or, when it is away or too slow, without it. */
function createInsurance(connection: RedisConnection, { clock, logger }: { clock: Clock; logger: Logger }): Insured {
  const refusals = createRefusalLog(logger, 'Redis refuses to count; each process limits for itself')
  const state = createSharedState({ clock, refusals })
  return (shared, own) => state.ask(() => connection.run(() => shared()), own)
}
