import type { Clock } from '../lib/clock.ts'
import type { CallSignal } from './call-signal.ts'
import { nothingReceived, type Received } from './chat-stream.ts'
import { classifyError } from './classifier.ts'
import type { ConnectionWatch } from './connection-watch.ts'
import type { EndpointMemory, RequestStyle } from './endpoint-memory.ts'
import { failureOf, type Failure } from './failure.ts'
import type { AttemptOutcome, ModelRequest, TokenUsage, UpstreamAttempt } from './model-call.ts'
import type { ResolvedModel } from './model-directory.ts'
import type { OutputSchema } from './output-schema.ts'
import type { Pricing } from './pricing.ts'
import type { Provider } from './provider.ts'
import type { AiTimeouts } from './timeouts.ts'
import { countUsage } from './token-usage.ts'
import type { Watchdog } from './watchdog.ts'

/** A model in a chain, ready to be asked. */
export type Hop = { model: ResolvedModel; provider: Provider; timeouts: AiTimeouts }

export type AttemptDeps = { clock: Clock; pricing: Pricing; memory: EndpointMemory; connections: ConnectionWatch }

export type AttemptOptions = {
  id: string
  hop: Hop
  request: ModelRequest
  outputSchema: OutputSchema | null
  /** Of the whole call, on the clock's monotonic scale. */
  deadlineMs: number
  signal: CallSignal
}

/** What is known of an attempt while it runs. */
export type AttemptRun = {
  deps: AttemptDeps
  options: AttemptOptions
  style: RequestStyle
  at: Date
  startedMs: number
  received: Received
  status: number | null
  requestId: string | null
  firstTextAtMs: number | null
}

/** How a call of a provider ended. Either `failure` is null and it is an answer, or it is none. */
export type AttemptResult = {
  record: UpstreamAttempt
  failure: Failure | null
  received: Received
  json: unknown
  /** When the first text came, on the clock's monotonic scale. */
  firstTextAtMs: number | null
}

export function startRun(deps: AttemptDeps, options: AttemptOptions): AttemptRun {
  const { provider, model } = options.hop
  return {
    deps,
    options,
    style: deps.memory.styleFor(provider, model.model),
    at: deps.clock.now(),
    startedMs: deps.clock.monotonicMs(),
    received: nothingReceived(),
    status: null,
    requestId: null,
    firstTextAtMs: null,
  }
}

type End = { failure: Failure | null; json: unknown }

const failed = (failure: Failure): End => ({ failure, json: null })

/** The body has ended by itself: an answer if it said that it was finished, else it was cut. */
export function endComplete(run: AttemptRun): AttemptResult {
  return finish(run, endOfBody(run))
}

/** Something broke. What no provider and no network can be blamed for is thrown again: it is a bug of ours. */
export function endBroken(
  run: AttemptRun,
  error: unknown,
  { watchdog, signal }: { watchdog: Watchdog; signal: CallSignal },
): AttemptResult {
  const failure = classifyError(error, run.deps.clock.now())
  if (failure === null) throw error
  // The answer was complete; what broke is only what may come behind it.
  if (run.received.finishReason !== null) return endComplete(run)
  if (signal.aborted) return finish(run, failed(failureOf('aborted', 'the caller gave up', signal.reason)))
  const { provider, model, timeouts } = run.options.hop
  // A status that came in time says more than that the body behind it did not.
  if (watchdog.expired !== null && failure.status === null) {
    return finish(run, failed(gaveUp(watchdog.expired, timeouts, error)))
  }
  const isLearned = run.deps.memory.learn(provider, model.model, { style: run.style, failure })
  return finish(run, failed(isLearned ? { ...failure, outcome: 'option_refused' } : failure))
}

/** The iteration was left in the middle of it. */
export function endAbandoned(run: AttemptRun): AttemptResult {
  return finish(run, failed(failureOf('aborted', 'the caller left')))
}

function endOfBody({ received, options }: AttemptRun): End {
  const { finishReason, refusal, malformedChunks } = received
  if (finishReason === null) {
    return failed(
      malformedChunks > 0
        ? failureOf('malformed_stream', `the stream ended unfinished, ${skipped(malformedChunks)}`)
        : failureOf('interrupted', 'the stream ended without a finish reason'),
    )
  }
  if (finishReason === 'error') return failed(failureOf('server_error', 'the model stopped with an error'))
  if (finishReason === 'content_filter')
    return failed(failureOf('content_filtered', 'a content filter stopped the answer'))
  if (refusal !== '') return failed(failureOf('refused', `the model refused: ${refusal}`))
  if (options.outputSchema === null) return { failure: null, json: null }
  const check = options.outputSchema.check(received.text)
  return check.ok ? { failure: null, json: check.value } : failed(failureOf('invalid_output', check.problem))
}

function gaveUp(expired: NonNullable<Watchdog['expired']>, timeouts: AiTimeouts, cause: unknown): Failure {
  switch (expired) {
    case 'deadline':
      return failureOf('deadline_exceeded', `no answer within ${String(timeouts.totalMs)} ms in all`, cause)
    case 'connect':
      return failureOf('connect_timeout', `no connection within ${String(timeouts.connectMs)} ms`, cause)
    case 'first_token':
      return failureOf('first_token_timeout', `no token within ${String(timeouts.firstTokenMs)} ms`, cause)
    case 'idle':
      return failureOf('idle_timeout', `nothing more for ${String(timeouts.idleMs)} ms`, cause)
    case 'trailer':
      return failureOf('interrupted', 'the stream ended without a finish reason', cause)
  }
}

function finish(run: AttemptRun, { failure: found, json }: End): AttemptResult {
  const { deps, options, received } = run
  const { hop } = options
  const failure = found === null ? null : { ...found, message: presentable(found.message, hop.provider.apiKey) }
  const record: UpstreamAttempt = {
    id: options.id,
    model: hop.model.name,
    modelVersion: received.modelVersion,
    outcome: failure?.outcome ?? 'succeeded',
    status: failure?.status ?? run.status,
    message: failure?.message ?? (received.malformedChunks > 0 ? skipped(received.malformedChunks) : null),
    durationMs: deps.clock.monotonicMs() - run.startedMs,
    requestId: failure?.requestId ?? run.requestId,
    timeToFirstTokenMs: run.firstTextAtMs === null ? null : run.firstTextAtMs - run.startedMs,
    usage: mayHaveCost(run, failure) ? usageOf(run) : null,
    at: run.at,
  }
  return { record, failure, received, json, firstTextAtMs: run.firstTextAtMs }
}

const neverReached: ReadonlySet<AttemptOutcome> = new Set(['connection_failed', 'connect_timeout'])

// A provider bills what it accepted, and may bill what we stopped waiting for; not what it refused, nor what never
// reached it.
function mayHaveCost(run: AttemptRun, failure: Failure | null): boolean {
  return run.status !== null || (failure?.status === null && !neverReached.has(failure.outcome))
}

function usageOf({ deps, options, received, at }: AttemptRun): TokenUsage {
  const counted = countUsage(received.usage, { messages: options.request.messages, output: received.text })
  return { ...counted, costNanoUsd: deps.pricing.costNanoUsd(options.hop.model, counted, at) }
}

function skipped(chunks: number): string {
  return chunks === 1 ? '1 malformed chunk was skipped' : `${String(chunks)} malformed chunks were skipped`
}

const maxMessageChars = 500

// It is stored and shown: some endpoints repeat the key that they refuse, and PostgreSQL takes no NUL.
function presentable(message: string, apiKey: string): string {
  const text = apiKey.length < 8 ? message : message.replaceAll(apiKey, '[redacted]')
  const shown = text.replaceAll('\0', '\uFFFD').slice(0, maxMessageChars)
  // The first half of a pair says nothing, and PostgreSQL takes none.
  return /[\uD800-\uDBFF]$/.test(shown) ? shown.slice(0, -1) : shown
}
