import { createHash } from 'node:crypto'
import { z } from 'zod'
import { canonicalJson } from '../lib/canonical-json.ts'
import type { Clock } from '../lib/clock.ts'
import type { NewId } from '../lib/ids.ts'
import { sleep } from '../lib/sleep.ts'
import type { Cache } from '../platform/cache/cache.ts'
import type { BackgroundWork } from './background-work.ts'
import type { AttemptResult, Hop } from './attempt-run.ts'
import type { CallSignal } from './call-signal.ts'
import type { CacheControl, CallScope, ModelRequest, TokenUsage } from './model-call.ts'
import { openAiBaseUrl } from './provider.ts'

/** Remembers answers, so that the same question to the same model is paid for once. */
export interface ResponseCache {
  /**
   * An answer from before; or the way to keep the one that the model will now give, for the caller and for whoever asks the same meanwhile, in
   * whichever process: they wait for it here, as long as the leader lives and `untilMs` (of the clock's monotonic scale) at the most. Null: this
   * question is not to be cached. Throws the signal's reason when it is aborted while waiting.
   */
  enter(question: CacheQuestion, options: { untilMs: number; signal: CallSignal }): Promise<CacheEntry | null>
}

export type CacheQuestion = { request: ModelRequest; hop: Hop; scopes: readonly CallScope[] }

export type CacheEntry =
  | { kind: 'hit'; answer: CachedAnswer }
  /** `keep` and `leave` do not wait for the cache. */
  | { kind: 'miss'; keep: (result: AttemptResult) => void; /** Always to be called, once. */ leave: () => void }

export type CachedAnswer = z.output<typeof cachedAnswer>

export type ResponseCacheDeps = {
  cache: Cache
  /** How long answers are kept when a call does not say, in milliseconds; 0: only those of calls that do. */
  defaultTtlMs: number
  clock: Clock
  newId: NewId
  /** In [0, 1). */
  random: () => number
  background: BackgroundWork
}

/** To be raised when what goes into the key, or what is kept, changes its meaning. */
const schemaVersion = 1
/** Answers that were kept together do not all go at once. */
const ttlJitter = 0.1
/** A leader that is not heard of for so long is taken for dead; one that lives says so three times as often. */
export const leadMs = 10_000
/** How long others wait for a leader that lives; then they ask the model themselves. */
export const maxFollowMs = 30_000
const firstPollMs = 10
const maxPollMs = 200

const count = z.int().nonnegative()
const nanoUsd = z.string().transform((text) => BigInt(text))
const cachedAnswer = z.object({
  /** When it was given, in milliseconds of the wall clock. */
  atMs: z.number(),
  text: z.string(),
  modelVersion: z.string().nullable(),
  finishReason: z.string(),
  usage: z.object({
    inputTokens: count,
    cachedInputTokens: count,
    outputTokens: count,
    reasoningTokens: count,
    estimated: z.boolean(),
    costNanoUsd: nanoUsd.nullable(),
  }),
})

export function createResponseCache(deps: ResponseCacheDeps): ResponseCache {
  const { cache, defaultTtlMs, clock, newId, random, background } = deps

  function read(value: string, maxAgeMs: number | null): CachedAnswer | null {
    const parsed = cachedAnswer.safeParse(parseOrNull(value))
    if (!parsed.success) return null
    const ageMs = clock.now().getTime() - parsed.data.atMs
    return maxAgeMs !== null && ageMs > maxAgeMs ? null : parsed.data
  }

  function keepIn(key: string, ttlMs: number, result: AttemptResult): Promise<void> | null {
    const { received, record } = result
    const { text, finishReason, modelVersion } = received
    // `length` is a cut answer, and what calls tools is not a text to be kept.
    if (finishReason !== 'stop' || record.usage === null) return null
    const value = JSON.stringify({
      atMs: clock.now().getTime(),
      text,
      modelVersion,
      finishReason,
      usage: usageJson(record.usage),
    })
    return cache.set(key, value, ttlMs * (1 - ttlJitter + 2 * ttlJitter * random()))
  }

  function lead(key: string, leader: string, ttlMs: number): CacheEntry {
    let kept: Promise<void> = Promise.resolve()
    const beat = setInterval(
      () => background.start('a lead could not be kept', cache.extend(key, leader, leadMs)),
      leadMs / 3,
    )
    beat.unref()
    return {
      kind: 'miss',
      keep(result) {
        kept = keepIn(key, ttlMs, result) ?? kept
      },
      leave() {
        clearInterval(beat)
        // In this order: whoever finds no leader finds the answer.
        background.start(
          'a lead could not be given up',
          kept.then(() => cache.release(key, leader)),
        )
      },
    }
  }

  function alone(key: string, policy: CachePolicy): CacheEntry {
    return {
      kind: 'miss',
      keep(result) {
        const kept = policy.stores ? keepIn(key, policy.ttlMs, result) : null
        if (kept !== null) background.start('an answer could not be kept', kept)
      },
      leave: () => undefined,
    }
  }

  return {
    async enter({ request, hop, scopes }, { untilMs, signal }) {
      const policy = policyOf(request, defaultTtlMs)
      const workspace = scopes.find(({ kind }) => kind === 'workspace')
      if (policy === null || workspace === undefined) return null
      const key = keyOf(request, hop, workspace.id)
      if (!policy.reads) return alone(key, policy)
      if (!policy.stores) {
        const value = await cache.get(key)
        const answer = value === null ? null : read(value, policy.maxAgeMs)
        return answer === null ? alone(key, policy) : { kind: 'hit', answer }
      }
      const leader = newId()
      const giveUpMs = Math.min(untilMs, clock.monotonicMs() + maxFollowMs)
      for (let pollMs = firstPollMs; ; pollMs = Math.min(pollMs * 2, maxPollMs)) {
        const found = await cache.getOrLead(key, leader, leadMs)
        switch (found.kind) {
          case 'value': {
            const answer = read(found.value, policy.maxAgeMs)
            return answer === null ? alone(key, policy) : { kind: 'hit', answer }
          }
          case 'lead':
            return lead(key, leader, policy.ttlMs)
          case 'unavailable':
            return alone(key, policy)
          case 'led':
            if (clock.monotonicMs() + pollMs >= giveUpMs) return alone(key, policy)
            await sleep(pollMs, signal.platformSignal())
        }
      }
    },
  }
}

type CachePolicy = { reads: boolean; stores: boolean; ttlMs: number; maxAgeMs: number | null }

/** Null: not cached. By itself only what is to be the same every time is: temperature 0. */
function policyOf({ cache, temperature }: ModelRequest, defaultTtlMs: number): CachePolicy | null {
  const { ttlMs, maxAgeMs, forceRefresh, noStore }: CacheControl = cache ?? noControl
  const isAsked = ttlMs !== null || maxAgeMs !== null || forceRefresh
  if (!isAsked && (temperature !== 0 || defaultTtlMs === 0)) return null
  const stores = !noStore && (ttlMs ?? defaultTtlMs) > 0
  return { reads: !forceRefresh, stores, ttlMs: ttlMs ?? defaultTtlMs, maxAgeMs }
}

const noControl: CacheControl = { ttlMs: null, maxAgeMs: null, forceRefresh: false, noStore: false }

/** All of the request but what does not change the answer: a new field is part of the key until it is left out here. */
function keyOf(
  { models: _models, onInterrupt: _onInterrupt, cache: _cache, ...asked }: ModelRequest,
  hop: Hop,
  workspaceId: string,
): string {
  const endpoint = hop.provider.baseUrl ?? openAiBaseUrl
  const question = { schemaVersion, workspaceId, endpoint, model: hop.model.model, ...asked }
  return createHash('sha256').update(canonicalJson(question)).digest('hex')
}

function usageJson({ savedNanoUsd: _saved, costNanoUsd, ...tokens }: TokenUsage): Record<string, unknown> {
  return { ...tokens, costNanoUsd: costNanoUsd?.toString() ?? null }
}

function parseOrNull(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    if (error instanceof SyntaxError) return null
    throw error
  }
}
