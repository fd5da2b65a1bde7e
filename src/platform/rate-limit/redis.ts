import { z } from 'zod'
import type { Clock } from '../../lib/clock.ts'
import type { Logger } from '../logger.ts'
import type { RedisServer } from '../redis/redis.ts'
import { createRedisScript } from '../redis/redis-script.ts'
import { createRefusalLog } from '../redis/refusal-log.ts'
import { createSharedState } from '../redis/shared-state.ts'
import { createInProcessRateLimits } from './in-process.ts'
import type { Bucket, RateLimits, Take } from './rate-limit.ts'

/*
 * A bucket is a hash: r requests, t tokens (fractions of them, too), at milliseconds by the clock of Redis. It expires when it would be full again.
 * KEYS: the buckets; ARGV: for each its requests and tokens a minute ('' where they are not counted), then what is said below.
 */
const fill = `
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local function text(number) return string.format('%.17g', number) end
local function load(i)
  local found = redis.call('HMGET', KEYS[i], 'r', 't', 'at')
  local at = tonumber(found[3] or now)
  local bucket = {}
  for field = 1, 2 do
    local size = tonumber(ARGV[i * 2 - 2 + field])
    if size then
      local content = tonumber(found[field] or '') or size
      bucket[field] = { size = size, content = math.min(size, content + math.max(0, now - at) * size / 60000) }
    end
  end
  return bucket
end
local function save(i, bucket)
  local fullInMs = 0
  for field = 1, 2 do
    local part = bucket[field]
    if part then fullInMs = math.max(fullInMs, (part.size - part.content) * 60000 / part.size) end
  end
  if fullInMs <= 0 then return redis.call('DEL', KEYS[i]) end
  local fields = { 'at', text(now) }
  if bucket[1] then fields[#fields + 1] = 'r'; fields[#fields + 1] = text(bucket[1].content) end
  if bucket[2] then fields[#fields + 1] = 't'; fields[#fields + 1] = text(bucket[2].content) end
  redis.call('HSET', KEYS[i], unpack(fields))
  redis.call('PEXPIRE', KEYS[i], math.ceil(fullInMs) + 1000)
end
`

/** More: the tokens. Returns {} or { index of the bucket, 1 requests or 2 tokens, ms }. */
const takeScript = createRedisScript(`${fill}
local wanted = { 1, tonumber(ARGV[#ARGV]) }
local buckets, longest = {}, { 0, 0, 0 }
for i = 1, #KEYS do
  buckets[i] = load(i)
  for field = 1, 2 do
    local part = buckets[i][field]
    local missing = part and math.min(wanted[field], part.size) - part.content or 0
    if missing > 1e-6 then
      local ms = math.ceil(missing * 60000 / part.size)
      if ms > longest[3] then longest = { i, field, ms } end
    end
  end
end
if longest[3] > 0 then return longest end
for i = 1, #KEYS do
  for field = 1, 2 do
    if buckets[i][field] then buckets[i][field].content = buckets[i][field].content - wanted[field] end
  end
  save(i, buckets[i])
end
return {}
`)

/** More: the requests and the tokens to add. */
const correctScript = createRedisScript(`${fill}
for i = 1, #KEYS do
  local bucket = load(i)
  for field = 1, 2 do
    local part = bucket[field]
    if part then part.content = math.min(part.size, part.content + tonumber(ARGV[#ARGV - 2 + field])) end
  end
  save(i, bucket)
end
`)

const refused = z.tuple([z.number().int(), z.union([z.literal(1), z.literal(2)]), z.number().int()])

export type RedisRateLimitsOptions = { redis: RedisServer; clock: Clock; logger: Logger }

/** Shared by all processes. While Redis is away each process counts for itself, from full buckets. */
export function createRedisRateLimits({ redis, clock, logger }: RedisRateLimitsOptions): RateLimits {
  const connection = redis.connect('requests', 'rate-limits')
  const refusals = createRefusalLog(logger, 'Redis refuses rate limits; each process counts for itself')
  const state = createSharedState({ clock, refusals })
  const local = createInProcessRateLimits({ clock })
  const keysOf = (buckets: readonly Bucket[]): string[] => buckets.map(({ key }) => `${redis.keyPrefix}:rate:${key}`)

  return {
    take(buckets, tokens) {
      return state.ask<Take>(
        async () => {
          const reply = await takeScript.run(connection, keysOf(buckets), [...sizesOf(buckets), tokens])
          if (Array.isArray(reply) && reply.length === 0) return { ok: true }
          const [index, field, retryAfterMs] = refused.parse(reply)
          return { ok: false, bucket: index - 1, lacks: field === 1 ? 'requests' : 'tokens', retryAfterMs }
        },
        () => local.take(buckets, tokens),
      )
    },
    correct(buckets, { requests, tokens }) {
      return state.ask(
        async () => {
          await correctScript.run(connection, keysOf(buckets), [...sizesOf(buckets), requests, tokens])
        },
        () => local.correct(buckets, { requests, tokens }),
      )
    },
    async close() {
      await Promise.all([connection.close(), local.close()])
    },
  }
}

function sizesOf(buckets: readonly Bucket[]): (string | number)[] {
  return buckets.flatMap(({ requestsPerMinute, tokensPerMinute }) => [requestsPerMinute ?? '', tokensPerMinute ?? ''])
}
