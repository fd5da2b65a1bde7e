import { fullJitterDelayMs } from '../lib/backoff.ts'
import type { Clock } from '../lib/clock.ts'
import type { NewId } from '../lib/ids.ts'
import { sleep } from '../lib/sleep.ts'
import type { Logger } from '../platform/logger.ts'
import { AiError } from './ai-error.ts'
import { createAttempt, type Attempt } from './attempt.ts'
import type { AttemptDeps, AttemptResult, Hop } from './attempt-run.ts'
import { failureOf, failureRules, type Failure } from './failure.ts'
import type { AiEvent, ModelName, ModelRequest, UpstreamAttempt } from './model-call.ts'
import type { OutputSchema } from './output-schema.ts'

export const maxUpstreamAttempts = 6
export const maxRetriesOfPrimary = 2
export const maxRetriesOfFallback = 1
export const retryInitialDelayMs = 500
export const retryMaxDelayMs = 8_000
/** A longer wait is not worth it: the next model is asked instead. */
export const maxWaitMs = 30_000

export type ChainDeps = AttemptDeps & { clock: Clock; newId: NewId; random: () => number; logger: Logger }

export type ChainOptions = {
  hops: readonly Hop[]
  request: ModelRequest
  outputSchema: OutputSchema | null
  /** Aborts the call: the connection is closed at once, and the iteration ends by throwing. */
  signal: AbortSignal
}

/**
 * Asks the models in order until one answers. What happens after a failure:
 *
 * | when                          | what                                                                                       |
 * | ----------------------------- | ------------------------------------------------------------------------------------------ |
 * | terminal                      | the call fails                                                                             |
 * | text was shown, policy ERROR  | the call fails with that text                                                              |
 * | text was shown, RESTART       | the next hop begins from the original messages; on the last hop, the same one while it may |
 * | action retry, retries left    | wait (full jitter, at least what the provider asks for), then the same hop                 |
 * | … but the wait is too long    | the next hop                                                                               |
 * | everything else               | the next hop; behind the last one the call fails                                           |
 *
 * The error reports what the first model failed with, since that is the one that was wanted; an abort and the deadline
 * report themselves.
 */
export async function* runChain(
  deps: ChainDeps,
  { hops, request, outputSchema, signal }: ChainOptions,
): AsyncGenerator<AiEvent, void, undefined> {
  const call = startCall(deps, hops)
  for (const [index, hop] of hops.entries()) {
    const isLast = index === hops.length - 1
    const maxRetries = index === 0 ? maxRetriesOfPrimary : maxRetriesOfFallback
    for (let retries = 0; ;) {
      if (signal.aborted) throw aborted(call, signal)
      if (call.attempts.length === maxUpstreamAttempts) throw gaveUp(call)
      const { deadlineMs } = call
      if (deps.clock.monotonicMs() >= deadlineMs) throw gaveUp(call, tooLate(hop))
      const attempt = createAttempt(deps, { id: deps.newId(), hop, request, outputSchema, deadlineMs, signal })
      const result = yield* attemptEvents(call, attempt, hop.model.name)
      const { failure } = result
      if (failure === null) return yield answer(call, result)
      note(call, { hop, failure })
      const { action } = failureRules[failure.outcome]
      if (failure.outcome === 'aborted' || failure.outcome === 'deadline_exceeded') throw gaveUp(call, failure)
      if (action === 'terminal') throw gaveUp(call)
      if (result.received.text !== '') {
        if (request.onInterrupt === 'ERROR') throw gaveUp(call)
        call.restartReason = `${hop.model.name} failed in the middle of its answer (${failure.outcome}): ${failure.message}`
        if (!isLast) break
      }
      if (action === 'again') continue
      if (action === 'next_hop' || retries === maxRetries) break
      const waitMs = waitBefore(call, retries, failure)
      if (waitMs === null) break
      await sleepOrThrow(call, waitMs, signal)
      retries++
    }
  }
  throw gaveUp(call)
}

type Call = {
  deps: ChainDeps
  startedMs: number
  deadlineMs: number
  attempts: UpstreamAttempt[]
  /** The last failure of each hop, in the order of the chain. */
  lastFailures: Map<ModelName, Failure>
  /** The text of the latest run that showed any. */
  shownText: string
  restartReason: string | null
}

function startCall(deps: ChainDeps, hops: readonly Hop[]): Call {
  const startedMs = deps.clock.monotonicMs()
  const totalMs = hops[0]?.timeouts.totalMs ?? 0
  return {
    deps,
    startedMs,
    deadlineMs: startedMs + totalMs,
    attempts: [],
    lastFailures: new Map(),
    shownText: '',
    restartReason: null,
  }
}

/**
 * Turns an attempt's text into events; `started` comes with the first text, or with the end of an answer that has none.
 */
async function* attemptEvents(
  call: Call,
  attempt: Attempt,
  model: ModelName,
): AsyncGenerator<AiEvent, AttemptResult, undefined> {
  const started: AiEvent = { type: 'started', model, reason: call.restartReason }
  let text = ''
  for await (const delta of attempt.texts()) {
    if (text === '') yield started
    text += delta
    call.shownText = text
    yield { type: 'delta', text: delta }
  }
  const result = attempt.result()
  call.attempts.push(result.record)
  if (text === '' && result.failure === null) yield started
  return result
}

function answer(call: Call, result: AttemptResult): AiEvent {
  const { record, received, json, firstTextAtMs } = result
  const { finishReason, text } = received
  if (finishReason === null || record.usage === null) throw new Error('an answer without an end')
  return {
    type: 'finished',
    answer: {
      text,
      json,
      model: record.model,
      modelVersion: received.modelVersion,
      finishReason,
      attempts: call.attempts,
      usage: record.usage,
      latencyMs: call.deps.clock.monotonicMs() - call.startedMs,
      timeToFirstTokenMs: firstTextAtMs === null ? null : firstTextAtMs - call.startedMs,
    },
  }
}

/** The wait before the next try of the same hop, or null when it is not worth it. */
function waitBefore(call: Call, retries: number, failure: Failure): number | null {
  const { random, clock } = call.deps
  const backoffMs = fullJitterDelayMs(retries, {
    initialDelayMs: retryInitialDelayMs,
    maxDelayMs: retryMaxDelayMs,
    random,
  })
  const waitMs = Math.max(backoffMs, failure.retryAfterMs ?? 0)
  return waitMs > Math.min(maxWaitMs, call.deadlineMs - clock.monotonicMs()) ? null : waitMs
}

async function sleepOrThrow(call: Call, waitMs: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(waitMs, signal)
  } catch (error) {
    if (signal.aborted) throw aborted(call, signal)
    throw error
  }
}

function note(call: Call, { hop, failure }: { hop: Hop; failure: Failure }): void {
  call.lastFailures.set(hop.model.name, failure)
  const { outcome, status, requestId } = failure
  const { action } = failureRules[outcome]
  if (outcome === 'aborted') return
  // Not the message: what a provider says of a prompt may hold parts of it.
  const facts = { model: hop.model.name, outcome, status, requestId }
  if (action === 'again')
    call.deps.logger.info(facts, 'an endpoint does not know an option: it is left out from now on')
  else call.deps.logger.warn(facts, 'a model gave no answer')
}

/** The error of the call: that of the first model, unless the caller or the deadline ended it. */
function gaveUp(call: Call, ending?: Failure): AiError {
  const failures = [...call.lastFailures]
  const cause = ending ?? failures[0]?.[1]
  if (cause === undefined) throw new Error('a chain without a hop')
  const said = failures.map(([model, failure]) => `${model}: ${failure.outcome} (${failure.message})`).join('; then ')
  return new AiError(ending === undefined ? said : `${ending.message}${said === '' ? '' : `. ${said}`}`, {
    kind: cause.outcome,
    // Later, any of them may answer.
    retryable:
      ending === undefined
        ? failures.some(([, { outcome }]) => failureRules[outcome].retryable)
        : failureRules[ending.outcome].retryable,
    retryAfterMs: cause.retryAfterMs,
    partialText: call.shownText,
    attempts: call.attempts,
    cause: cause.cause,
  })
}

function aborted(call: Call, signal: AbortSignal): AiError {
  return gaveUp(call, failureOf('aborted', 'The caller gave up', signal.reason))
}

function tooLate(hop: Hop): Failure {
  return failureOf('deadline_exceeded', `no answer within ${String(hop.timeouts.totalMs)} ms in all`)
}
