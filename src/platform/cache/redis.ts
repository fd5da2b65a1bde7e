import { z } from 'zod'
import type { Clock } from '../../lib/clock.ts'
import type { Logger } from '../logger.ts'
import type { RedisServer } from '../redis/redis.ts'
import { createRedisScript } from '../redis/redis-script.ts'
import { createRefusalLog } from '../redis/refusal-log.ts'
import { createSharedState } from '../redis/shared-state.ts'
import { maxValueChars, type Cache, type Lookup } from './cache.ts'

// KEYS: the value, the lead. ARGV: the leader, the lease in milliseconds.
const lookUpScript = createRedisScript(`
local value = redis.call('GET', KEYS[1])
if value then return {'value', value} end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return {'lead'} end
return {'led'}`)

// KEYS: the lead. ARGV: the leader, the lease in milliseconds; 0: give it up.
const leadScript = createRedisScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then return redis.call('DEL', KEYS[1]) end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])`)

const lookup = z.union([
  z.tuple([z.literal('value'), z.string()]).transform(([kind, value]): Lookup => ({ kind, value })),
  z.tuple([z.literal(['lead', 'led'])]).transform(([kind]): Lookup => ({ kind })),
])

/** How long a call waits for the cache at the most, in milliseconds: an answer of a model takes longer. */
export const cacheTimeoutMs = 150

export type RedisCacheOptions = { redis: RedisServer; clock: Clock; logger: Logger; timeoutMs?: number }

/** Shared by all processes. A Redis that is away, full or slow is a miss, for a second at a time. */
export function createRedisCache({ redis, clock, logger, timeoutMs = cacheTimeoutMs }: RedisCacheOptions): Cache {
  const connection = redis.connect('requests', 'cache')
  const refusals = createRefusalLog(logger, 'Redis does not keep answers; models are asked every time')
  const shared = createSharedState({ clock, refusals, limitMs: timeoutMs })
  const valueKey = (key: string): string => `${redis.keyPrefix}:cache:${key}`
  const leadKey = (key: string): string => `${redis.keyPrefix}:lead:${key}`
  const nothing = async (): Promise<void> => undefined

  async function lead(key: string, leader: string, leaseMs: number): Promise<void> {
    await shared.ask(async () => void (await leadScript.run(connection, [leadKey(key)], [leader, leaseMs])), nothing)
  }

  return {
    get(key) {
      return shared.ask(
        () => connection.run((client) => client.get(valueKey(key))),
        async () => null,
      )
    },
    async set(key, value, ttlMs) {
      if (value.length > maxValueChars) return
      await shared.ask(
        async () => void (await connection.run((client) => client.set(valueKey(key), value, 'PX', Math.ceil(ttlMs)))),
        nothing,
      )
    },
    getOrLead(key, leader, leaseMs) {
      return shared.ask<Lookup>(
        async () => lookup.parse(await lookUpScript.run(connection, [valueKey(key), leadKey(key)], [leader, leaseMs])),
        async () => ({ kind: 'unavailable' }),
      )
    },
    extend: lead,
    release: (key, leader) => lead(key, leader, 0),
    close: () => connection.close(),
  }
}
