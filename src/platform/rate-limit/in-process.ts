import { LRUCache } from 'lru-cache'
import type { Clock } from '../../lib/clock.ts'
import type { Bucket, RateLimits, Take } from './rate-limit.ts'

/** What a bucket holds; null: it is not counted. */
type Content = { requests: number | null; tokens: number | null; atMs: number }

/** Those not used for longest are forgotten, and so are full again. */
const maxBuckets = 100_000
const minuteMs = 60_000

/** For one process. The same arithmetic as redis.ts; one contract suite holds both to it. */
export function createInProcessRateLimits({ clock }: { clock: Clock }): RateLimits {
  const contents = new LRUCache<string, Content>({ max: maxBuckets })

  function contentOf(bucket: Bucket, nowMs: number): Content {
    const { key, requestsPerMinute, tokensPerMinute } = bucket
    const before = contents.get(key)
    const passedMs = before === undefined ? 0 : nowMs - before.atMs
    return {
      requests: filled(before?.requests, requestsPerMinute, passedMs),
      tokens: filled(before?.tokens, tokensPerMinute, passedMs),
      atMs: nowMs,
    }
  }

  return {
    async take(buckets, tokens) {
      const nowMs = clock.monotonicMs()
      const found = buckets.map((bucket) => contentOf(bucket, nowMs))
      const refusal = longestWait(buckets, found, tokens)
      if (refusal !== null) return refusal
      for (const [index, bucket] of buckets.entries()) {
        const content = found[index]
        if (content === undefined) continue
        contents.set(bucket.key, {
          requests: content.requests === null ? null : content.requests - 1,
          tokens: content.tokens === null ? null : content.tokens - tokens,
          atMs: nowMs,
        })
      }
      return { ok: true }
    },
    async correct(buckets, { requests, tokens }) {
      const nowMs = clock.monotonicMs()
      for (const bucket of buckets) {
        const content = contentOf(bucket, nowMs)
        contents.set(bucket.key, {
          requests: added(content.requests, requests, bucket.requestsPerMinute),
          tokens: added(content.tokens, tokens, bucket.tokensPerMinute),
          atMs: nowMs,
        })
      }
    },
    async close() {
      contents.clear()
    },
  }
}

function filled(content: number | null | undefined, perMinute: number | null, passedMs: number): number | null {
  if (perMinute === null) return null
  if (content === null || content === undefined) return perMinute
  return Math.min(perMinute, content + (passedMs * perMinute) / minuteMs)
}

function added(content: number | null, more: number, perMinute: number | null): number | null {
  return content === null || perMinute === null ? null : Math.min(perMinute, content + more)
}

function longestWait(buckets: readonly Bucket[], contents: readonly Content[], tokens: number): Take | null {
  let longest: Extract<Take, { ok: false }> | null = null
  for (const [bucket, { requestsPerMinute, tokensPerMinute }] of buckets.entries()) {
    const content = contents[bucket]
    const waits = [
      { lacks: 'requests', waitMs: waitFor(content?.requests, 1, requestsPerMinute) },
      { lacks: 'tokens', waitMs: waitFor(content?.tokens, tokens, tokensPerMinute) },
    ] as const
    for (const { lacks, waitMs } of waits) {
      const retryAfterMs = Math.ceil(waitMs)
      if (retryAfterMs > 0 && retryAfterMs > (longest?.retryAfterMs ?? 0)) {
        longest = { ok: false, bucket, lacks, retryAfterMs }
      }
    }
  }
  return longest
}

// A millionth is what rounding may cost, not what somebody lacks.
const roundingError = 1e-6

function waitFor(content: number | null | undefined, wanted: number, perMinute: number | null): number {
  if (perMinute === null || content === null || content === undefined) return 0
  const missing = Math.min(wanted, perMinute) - content
  return missing <= roundingError ? 0 : (missing * minuteMs) / perMinute
}
