/** "provider/model" (split at the first slash: the model may hold more of them) or an alias of one. */
export type ModelName = string

export type JsonSchema = Readonly<Record<string, unknown>>

export type ChatMessage = { readonly role: 'system' | 'user' | 'assistant'; readonly content: string }

/**
 * What to do when an answer breaks off after its first text: start again on the next model, or fail with what there is.
 */
export type OnInterrupt = 'RESTART' | 'ERROR'

export type ModelRequest = {
  /** Tried in this order; empty: the configured default. */
  models: readonly ModelName[]
  messages: readonly ChatMessage[]
  /** Null: whatever the provider does by default. */
  temperature: number | null
  /** Null: no limit is sent. */
  maxOutputTokens: number | null
  /** The answer must be one JSON value that is valid for it: asked for where the endpoint can, checked always. */
  outputSchema: JsonSchema | null
  onInterrupt: OnInterrupt
  /** What the response cache may do for it; absent: what it does by itself (answers at temperature 0). */
  cache?: CacheControl
}

/** Answers come from the cache, and are kept in it, when the temperature is 0 or any of these but `noStore` asks for it. */
export type CacheControl = {
  /** How long the answer is kept, in milliseconds; null: as long as answers are. */
  ttlMs: number | null
  /** How old an answer may be, in milliseconds; null: as old as it is kept. */
  maxAgeMs: number | null
  /** Ask the model in any case, and keep what it says. */
  forceRefresh: boolean
  /** Keep nothing of this call. */
  noStore: boolean
}

/** Requests and tokens in a minute; null: no limit. */
export type RateLimit = { requestsPerMinute: number | null; tokensPerMinute: number | null }

/** Somebody a call is made for: what it uses counts against their limits and budgets. The library knows only the names. */
export type CallScope = { readonly kind: 'workspace' | 'agent'; readonly id: string; readonly rateLimit: RateLimit }

/** All workspaces have one limit, which is configured with the client. */
export function workspaceScope(id: string): CallScope {
  return { kind: 'workspace', id, rateLimit: { requestsPerMinute: null, tokensPerMinute: null } }
}

/** What a call says while it runs, in this order: (started delta*)+ finished. */
export type AiEvent =
  /**
   * A model run begins, directly before its first text (or before `finished`, should it have none). `reason` says why
   * all text before it is void: null for the first run, never null afterwards. What came earlier must be dropped, not
   * continued.
   */
  | {
      readonly type: 'started'
      readonly model: ModelName
      readonly reason: string | null
      /** The answer comes from the response cache. */
      readonly cached: boolean
    }
  | { readonly type: 'delta'; readonly text: string }
  | { readonly type: 'finished'; readonly answer: Answer }

export type Answer = {
  /** Exactly what one model sent in one run: the deltas since the last `started`. */
  text: string
  /** The parsed value when an `outputSchema` was given, else null. */
  json: unknown
  /** "provider/model" that gave the answer, as it was asked for. */
  model: ModelName
  /** What the provider said had answered. */
  modelVersion: string | null
  /** As the provider spells it; `length` is a success that was cut at the maximum of output tokens. */
  finishReason: string
  /** It came from the response cache: another call had been answered with it before. */
  cached: boolean
  /** Every call upstream, the successful one last. */
  attempts: readonly UpstreamAttempt[]
  /** Of the run that gave the answer; what failed runs may have cost is with their attempts. */
  usage: TokenUsage
  /** Since the call began, retries and waits included. */
  latencyMs: number
  /** Until the first text of the run that gave the answer, since the call began; null when the answer is empty. */
  timeToFirstTokenMs: number | null
}

export type TokenUsage = {
  inputTokens: number
  /** The part of the input that the provider read from its prefix cache. */
  cachedInputTokens: number
  outputTokens: number
  /** The part of the output that was reasoning. */
  reasoningTokens: number
  /** True when the provider gave no figures, so that these are counted from bytes. */
  estimated: boolean
  /** Null when the price of the model is not known. */
  costNanoUsd: bigint | null
  /** What the response cache saved; absent: nothing. */
  savedNanoUsd?: bigint
}

/** One call of a provider, however it ended. Append-only; `id` also keys the ledger. */
export type UpstreamAttempt = {
  /** UUIDv7. */
  id: string
  /** "provider/model" as it was asked for. */
  model: ModelName
  /** What the provider said had answered. */
  modelVersion: string | null
  outcome: AttemptOutcome
  /** The HTTP status, when headers came. */
  status: number | null
  /** What the provider or the network said, shortened and without the key; null when there is nothing to say. */
  message: string | null
  durationMs: number
  /** The provider's own id of the request. */
  requestId: string | null
  /** Null when no text came. */
  timeToFirstTokenMs: number | null
  /** Null when it can have cost nothing: it was refused, or never reached the provider. */
  usage: TokenUsage | null
  at: Date
}

/**
 * Every way in which a call of a provider can fail, or not be made at all (the last five). What follows from each is in
 * failure.ts.
 */
export const failureOutcomes = [
  'rate_limited',
  'server_error',
  'overloaded',
  'request_timeout',
  'request_conflict',
  'connection_failed',
  'interrupted',
  'malformed_stream',
  'option_refused',
  'connect_timeout',
  'first_token_timeout',
  'idle_timeout',
  'authentication_failed',
  'permission_denied',
  'quota_exhausted',
  'model_not_found',
  'context_length_exceeded',
  'invalid_output',
  'bad_request',
  'content_filtered',
  'refused',
  'answer_too_large',
  'deadline_exceeded',
  'aborted',
  'breaker_open',
  'cooling_down',
  'provider_limited',
  'rate_limit_exceeded',
  'budget_exceeded',
] as const

export type FailureOutcome = (typeof failureOutcomes)[number]
/** `cached`: the response cache answered, and no provider was asked. */
export type AttemptOutcome = 'succeeded' | 'cached' | FailureOutcome
