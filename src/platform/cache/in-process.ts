import { LRUCache } from 'lru-cache'
import type { Clock } from '../../lib/clock.ts'
import { maxValueChars, type Cache, type Lookup } from './cache.ts'

type Value = { text: string; untilMs: number }
type Lead = { leader: string; untilMs: number }

/** JavaScript holds a text in one or two bytes a unit: counted as two. */
const maxBytes = 64 * 1024 * 1024
const bytesPerUnit = 2
const bytesPerEntry = 200
const maxLeads = 10_000

export type InProcessCacheOptions = {
  clock: Clock
  /** What all values may take, in bytes; those used longest ago go first. Default 64 MiB. */
  maxBytes?: number
}

/** For one process. */
export function createInProcessCache({ clock, maxBytes: maxSize = maxBytes }: InProcessCacheOptions): Cache {
  const values = new LRUCache<string, Value>({
    maxSize,
    sizeCalculation: ({ text }, key) => (text.length + key.length) * bytesPerUnit + bytesPerEntry,
  })
  const leads = new LRUCache<string, Lead>({ max: maxLeads })

  function valueOf(key: string): string | null {
    const value = values.get(key)
    if (value === undefined) return null
    if (value.untilMs > clock.monotonicMs()) return value.text
    values.delete(key)
    return null
  }

  function leaderOf(key: string): string | null {
    const lead = leads.get(key)
    return lead !== undefined && lead.untilMs > clock.monotonicMs() ? lead.leader : null
  }

  function lookUp(key: string, leader: string, leaseMs: number): Lookup {
    const value = valueOf(key)
    if (value !== null) return { kind: 'value', value }
    if (leaderOf(key) !== null) return { kind: 'led' }
    leads.set(key, { leader, untilMs: clock.monotonicMs() + leaseMs })
    return { kind: 'lead' }
  }

  return {
    get: async (key) => valueOf(key),
    async set(key, text, ttlMs) {
      if (text.length <= maxValueChars) values.set(key, { text, untilMs: clock.monotonicMs() + ttlMs })
    },
    getOrLead: async (key, leader, leaseMs) => lookUp(key, leader, leaseMs),
    async extend(key, leader, leaseMs) {
      if (leaderOf(key) === leader) leads.set(key, { leader, untilMs: clock.monotonicMs() + leaseMs })
    },
    async release(key, leader) {
      if (leaderOf(key) === leader) leads.delete(key)
    },
    async close() {
      values.clear()
      leads.clear()
    },
  }
}
