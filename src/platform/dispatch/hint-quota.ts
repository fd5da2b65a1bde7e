import type { RedisConnection } from '../redis/redis-connection.ts'
import { createRedisScript } from '../redis/redis-script.ts'

/** How many hints of a workspace wait in the queue, for all processes together. */
export interface HintQuota {
  /** Counts one more, and says whether it may be added: false when `maxWaiting` wait already. Throws what RedisConnection.run throws. */
  admit(workspaceId: string): Promise<boolean>
  /** Counts one less: it was taken. */
  release(workspaceId: string): Promise<void>
}

export type HintQuotaOptions = {
  connection: RedisConnection
  /** In a Cluster it has the hash tag of the queue. */
  keyPrefix: string
  maxWaiting: number
  /** The queue's own keys: the list of those that wait, with the oldest last, and the number of the newest. */
  queueKeys: { wait: string; id: string }
  /** How long a count that is full must have been at rest before it is doubted, in milliseconds. Default 2 000. */
  doubtAfterMs?: number | undefined
}

/*
 * A count goes wrong when a process dies between two steps. An expiry would mend it, and would let the queue grow without end while every
 * process is busy for longer. So a count that is full is held against the queue itself, which is first in, first out: jobs have rising
 * numbers, so when the oldest of the queue is newer than the workspace's last hint (or the queue is empty), none of its hints can be waiting.
 * At rest for a while, because between counting and adding a hint is not in the queue yet. At worst, with its last hint the oldest of the
 * queue, a workspace gets `maxWaiting` more, once.
 */
const admitScript = createRedisScript(`
local state = redis.call('HMGET', KEYS[1], 'count', 'after', 'at')
local count = tonumber(state[1]) or 0
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if count >= tonumber(ARGV[1]) then
  local oldest = redis.call('LINDEX', KEYS[2], -1)
  local isPast = not oldest or (tonumber(oldest) or 0) > (tonumber(state[2]) or 0)
  local isAtRest = now - (tonumber(state[3]) or 0) >= tonumber(ARGV[2])
  if not (isPast and isAtRest) then return 0 end
  count = 0
end
redis.call('HSET', KEYS[1], 'count', count + 1, 'after', redis.call('GET', KEYS[3]) or 0, 'at', now)
redis.call('EXPIRE', KEYS[1], 86400)
return 1
`)

const releaseScript = createRedisScript(`
if redis.call('HINCRBY', KEYS[1], 'count', -1) <= 0 then redis.call('DEL', KEYS[1]) end
return 0
`)

export function createHintQuota(options: HintQuotaOptions): HintQuota {
  const { connection, keyPrefix, maxWaiting, queueKeys, doubtAfterMs = 2_000 } = options
  const keyOf = (workspaceId: string): string => `${keyPrefix}:hinted:${workspaceId}`

  return {
    async admit(workspaceId) {
      const keys = [keyOf(workspaceId), queueKeys.wait, queueKeys.id]
      return (await admitScript.run(connection, keys, [maxWaiting, doubtAfterMs])) === 1
    },
    async release(workspaceId) {
      await releaseScript.run(connection, [keyOf(workspaceId)], [])
    },
  }
}
