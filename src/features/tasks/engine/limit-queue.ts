import { LRUCache } from 'lru-cache'
import type { Clock } from '../../../lib/clock.ts'

/**
 * When the tasks of an agent are tried again whose limit is used up. All of them at the first moment that there is room for one would
 * only be claimed to be given back, again and again: so they come one after another, at the pace of the limit.
 */
export interface LimitQueue {
  /** How long to wait, in milliseconds; never less than `retryAfterMs`. */
  delayMs(agentId: string, limit: { retryAfterMs: number; requestsPerMinute: number | null }): number
}

const maxAgents = 10_000
/** A task with a higher priority comes behind those that are waiting already, but not for longer than this. */
export const longestQueueMs = 60_000
/** Where tokens are what lacks, nobody knows how many the next one will want. */
const paceByTokensMs = 1_000

export function createLimitQueue({ clock }: { clock: Clock }): LimitQueue {
  const lastAtMs = new LRUCache<string, number>({ max: maxAgents })
  return {
    delayMs(agentId, { retryAfterMs, requestsPerMinute }) {
      const nowMs = clock.monotonicMs()
      const paceMs = requestsPerMinute === null ? paceByTokensMs : 60_000 / requestsPerMinute
      const nextMs = Math.min((lastAtMs.get(agentId) ?? -Infinity) + paceMs, nowMs + longestQueueMs)
      const atMs = Math.max(nowMs + retryAfterMs, nextMs)
      lastAtMs.set(agentId, atMs)
      return Math.ceil(atMs - nowMs)
    },
  }
}
