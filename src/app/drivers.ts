import { figuresWindowMs } from '../ai/model-figures.ts'
import type { Cache } from '../platform/cache/cache.ts'
import { createInProcessCache } from '../platform/cache/in-process.ts'
import type { CircuitBreakers } from '../platform/circuit-breaker/circuit-breaker.ts'
import { createInProcessCircuitBreakers } from '../platform/circuit-breaker/in-process.ts'
import type { Dispatch } from '../platform/dispatch/dispatch.ts'
import { createInProcessDispatch } from '../platform/dispatch/in-process.ts'
import type { Events } from '../platform/events/events.ts'
import { createInProcessEvents } from '../platform/events/in-process.ts'
import { createInProcessRateLimits } from '../platform/rate-limit/in-process.ts'
import type { RateLimits } from '../platform/rate-limit/rate-limit.ts'
import type { Board } from '../platform/redis/board.ts'
import { createInProcessThrottles } from '../platform/throttle/in-process.ts'
import type { Throttles } from '../platform/throttle/throttles.ts'
import type { Basics } from './basics.ts'

/** What is in this process, or shared by all over Redis. */
export type Drivers = {
  events: Events
  dispatch: Dispatch
  breakers: CircuitBreakers
  rateLimits: RateLimits
  throttles: Throttles
  cache: Cache
  /** One process needs none. */
  board?: Board
}

export async function openDrivers(basics: Basics): Promise<Drivers> {
  const { config, clock, newId, logger, cleanup } = basics
  const hints: HintOptions = {
    maxWaitingPerWorkspace: 1,
    onError: (error) => logger.error({ err: error }, 'a hint could not be taken'),
  }
  const drivers: Drivers =
    config.redisUrl === null
      ? {
          events: createInProcessEvents(),
          dispatch: createInProcessDispatch(hints),
          breakers: createInProcessCircuitBreakers({ clock, newId }),
          rateLimits: createInProcessRateLimits({ clock }),
          throttles: createInProcessThrottles(),
          cache: createInProcessCache({ clock }),
        }
      : await openRedisDrivers(basics, { url: config.redisUrl, hints })
  cleanup.add('events', () => drivers.events.close())
  cleanup.add('dispatch', () => drivers.dispatch.close())
  cleanup.add('circuit breakers', () => drivers.breakers.close())
  cleanup.add('rate limits', () => drivers.rateLimits.close())
  cleanup.add('throttles', () => drivers.throttles.close())
  cleanup.add('the cache', () => drivers.cache.close())
  cleanup.add('the board of models', async () => drivers.board?.close())
  return drivers
}

type HintOptions = { maxWaitingPerWorkspace: number; onError: (error: unknown) => void }

// Loaded only when it is asked for: the clients take most of a second to import.
async function openRedisDrivers(
  { clock, newId, processId, logger, random }: Basics,
  { url, hints }: { url: string; hints: HintOptions },
): Promise<Drivers> {
  const [
    { openRedis },
    { createRedisEvents },
    { createBullmqDispatch },
    { createRedisCircuitBreakers },
    { createRedisRateLimits },
    { createRedisThrottles },
    { createRedisCache },
    { createRedisBoard },
  ] = await Promise.all([
    import('../platform/redis/redis.ts'),
    import('../platform/events/redis.ts'),
    import('../platform/dispatch/bullmq.ts'),
    import('../platform/circuit-breaker/redis.ts'),
    import('../platform/rate-limit/redis.ts'),
    import('../platform/throttle/redis.ts'),
    import('../platform/cache/redis.ts'),
    import('../platform/redis/board.ts'),
  ])
  const redis = await openRedis({ url, clock, logger, random })
  return {
    events: await createRedisEvents({ redis, logger }),
    dispatch: await createBullmqDispatch({ ...hints, redis, logger }),
    breakers: createRedisCircuitBreakers({ redis, clock, newId, logger }),
    rateLimits: createRedisRateLimits({ redis, clock, logger }),
    throttles: await createRedisThrottles({ redis, clock, logger }),
    cache: createRedisCache({ redis, clock, logger }),
    board: createRedisBoard({ redis, logger, name: 'models', processId, maxAgeMs: figuresWindowMs }),
  }
}
