import { refusalFailure, type AttemptPlan, type Refusal } from './admission.ts'
import { AiError } from './ai-error.ts'
import { createAttempt } from './attempt.ts'
import type { AttemptResult, Hop } from './attempt-run.ts'
import { createAttemptSize } from './attempt-size.ts'
import {
  aborted,
  brokeOff,
  gaveUp,
  isWorthWaiting,
  noteFailure,
  noteRefusal,
  sleepOrThrow,
  startCall,
  throwIfOver,
  waitBefore,
  type Call,
  type ChainDeps,
  type ChainOptions,
} from './call-state.ts'
import { failureRules } from './failure.ts'
import type { AiEvent, ModelRequest } from './model-call.ts'
import { repairRequest } from './repair.ts'
import { replayOf } from './replay.ts'

export const maxUpstreamAttempts = 6
export const maxRetriesOfPrimary = 2
export const maxRetriesOfFallback = 1

/**
 * Asks the models in order until one answers. The call begins with the first step of the iteration. What happens after a failure:
 *
 * | when                          | what                                                                                       |
 * | ----------------------------- | ------------------------------------------------------------------------------------------ |
 * | terminal                      | the call fails                                                                             |
 * | text was shown, policy ERROR  | the call fails with that text                                                              |
 * | text was shown, RESTART       | the next hop begins from the original messages; on the last hop, the same one while it may |
 * | action retry, retries left    | wait (full jitter, at least what the provider asks for), then the same hop                 |
 * | … but the wait is too long    | the next hop                                                                               |
 * | action repair, policy RESTART | the same hop once more, told what was wrong; when that fails too, the next hop             |
 * | everything else               | the next hop; behind the last one the call fails                                           |
 *
 * The gate is asked before every call upstream; what follows from its refusals is in admission.ts.
 *
 * The error reports what the first model failed with, since that is the one that was wanted; an abort, the deadline and the
 * caller's own limits report themselves. What a gate throws is thrown as it is while nothing was asked.
 */
export async function* runChain(deps: ChainDeps, begin: () => BegunCall): AsyncGenerator<AiEvent, void, undefined> {
  const { options, leave } = begin()
  const call = startCall(deps, options)
  try {
    for (;;) {
      const askedBefore = call.attempts.length
      const refusals: Refusal[] = []
      for (const index of options.hops.keys()) {
        const end = yield* runHop(call, index)
        if (end === 'answered') return
        if (end !== 'failed') refusals.push(end)
      }
      // Somebody was asked, so it is known how it went.
      if (call.attempts.length > askedBefore || refusals.length === 0) throw gaveUp(call)
      await waitForEarliest(call, refusals)
    }
  } catch (error) {
    // Whatever else breaks, what was spent until then must reach whoever records it.
    throw error instanceof AiError || call.attempts.length === 0 ? error : brokeOff(call, error)
  } finally {
    leave()
  }
}

/** `leave` is called once, when the call is over. */
export type BegunCall = { options: ChainOptions; leave: () => void }

type HopEnd = 'answered' | 'failed' | Refusal

/** Answers from the cache, or asks the model. A refusal: it was not asked this time, or not again. */
async function* runHop(call: Call, index: number): AsyncGenerator<AiEvent, HopEnd, undefined> {
  const { hops, request, scopes, signal } = call.options
  const hop = hops[index]
  if (hop === undefined) throw new RangeError(`the chain has no hop ${String(index)}`)
  throwIfOver(call, hop)
  const startedMs = call.deps.clock.monotonicMs()
  const question = { request, hop, scopes }
  const entry = await call.deps.responses
    ?.enter(question, { untilMs: call.deadlineMs, signal })
    .catch((error: unknown) => {
      throw signal.aborted ? aborted(call) : error
    })
  if (entry?.kind === 'hit') {
    const replay = replayOf(call, { hop, answer: entry.answer, startedMs })
    if (replay !== null) {
      yield* replay
      return 'answered'
    }
  }
  try {
    return yield* askHop(call, { index, hop, keep: entry?.kind === 'miss' ? entry.keep : () => undefined })
  } finally {
    if (entry?.kind === 'miss') entry.leave()
  }
}

type AskedHop = { index: number; hop: Hop; /** Remembers an answer. */ keep: (result: AttemptResult) => void }

/** Asks one model, again while that is worth it. */
async function* askHop(call: Call, { index, hop, keep }: AskedHop): AsyncGenerator<AiEvent, HopEnd, undefined> {
  const { hops, request } = call.options
  const isLast = index === hops.length - 1
  const maxRetries = index === 0 ? maxRetriesOfPrimary : maxRetriesOfFallback
  /** What this hop is asked now: the request itself, or its repair turn. */
  let asked = request
  for (let retries = 0; ;) {
    if (call.attempts.length === maxUpstreamAttempts) throw gaveUp(call)
    throwIfOver(call, hop)
    const admission = await admit(call, { hop, request: asked, isRetry: retries > 0 })
    if (admission.kind === 'refused') return admission.refusal
    const result = yield* runAttempt(call, hop, admission.plan)
    const { failure } = result
    if (failure === null) {
      // An answer that was begun anew is not what the model says to the request as such.
      if (call.restartReason === null) keep(result)
      yield answer(call, result)
      return 'answered'
    }
    noteFailure(call, { hop, failure })
    const { action } = failureRules[failure.outcome]
    if (failure.outcome === 'aborted' || failure.outcome === 'deadline_exceeded') throw gaveUp(call, failure)
    if (action === 'terminal') throw gaveUp(call)
    if (result.received.text !== '') {
      if (request.onInterrupt === 'ERROR') throw gaveUp(call)
      call.restartReason = `${hop.model.name} failed in the middle of its answer (${failure.outcome}): ${failure.message}`
    }
    if (action === 'again') continue
    // A hop that fails at its repair turn has had its chance.
    if (asked !== request) return 'failed'
    const repair = action === 'repair' ? repairRequest(request, result) : null
    if (repair !== null) {
      asked = repair
      continue
    }
    const isVoid = result.received.text !== '' && !isLast
    if (action !== 'retry' || isVoid || retries === maxRetries) return 'failed'
    const waitMs = waitBefore(call, retries, failure)
    if (waitMs === null) return 'failed'
    await sleepOrThrow(call, waitMs)
    retries++
  }
}

/** A wait that a provider asked for was waited out by our clock; by that of who keeps the cooldown it may lack a little. */
const clockSkewMs = 100
const maxAdmissions = 3

type Asking = { hop: Hop; request: ModelRequest; isRetry: boolean }
type PlanAdmission = { kind: 'admitted'; plan: AttemptPlan } | { kind: 'refused'; refusal: Refusal }

/** Throws what the call fails with when its own limit or budget says no. */
async function admit(call: Call, { hop, request, isRetry }: Asking): Promise<PlanAdmission> {
  const { deps } = call
  for (let admissions = 1; ; admissions++) {
    const plan = planOf(call, hop, request)
    const admission = await deps.gate.admit(plan)
    if (admission.kind === 'admitted') {
      if (!plan.signal.aborted) return { kind: 'admitted', plan: limited(plan, admission.maxOutputTokens) }
      await deps.gate.settle(plan, { kind: 'not_sent' })
      throw aborted(call)
    }
    if (plan.signal.aborted) throw aborted(call)
    const { refusal } = admission
    const failure = refusalFailure(refusal)
    if (refusal.class !== 'provider') throw gaveUp(call, failure)
    const { retryAfterMs } = refusal
    if (!isRetry || admissions === maxAdmissions || retryAfterMs === null || retryAfterMs > clockSkewMs) {
      noteRefusal(call, { hop, failure })
      return admission
    }
    await sleepOrThrow(call, retryAfterMs)
  }
}

function limited(plan: AttemptPlan, maxOutputTokens: number | undefined): AttemptPlan {
  const { request } = plan
  if (maxOutputTokens === undefined || (request.maxOutputTokens ?? Infinity) <= maxOutputTokens) return plan
  return { ...plan, request: { ...request, maxOutputTokens } }
}

function planOf(call: Call, hop: Hop, request: ModelRequest): AttemptPlan {
  const { deps, options, deadlineMs } = call
  const { scopes, signal } = options
  const { model, provider } = hop
  const size = createAttemptSize({ pricing: deps.pricing, now: () => deps.clock.now() }, { model, request })
  return { id: deps.newId(), model, provider, request, scopes, size, deadlineMs, signal }
}

/** No hop could be asked: wait until one can, or fail at once when that is too far away. */
async function waitForEarliest(call: Call, refusals: readonly Refusal[]): Promise<void> {
  const waits = refusals.flatMap(({ retryAfterMs }) => (retryAfterMs === null ? [] : [retryAfterMs]))
  const earliestMs = waits.length === 0 ? null : Math.min(...waits)
  if (earliestMs === null || !isWorthWaiting(call, earliestMs)) throw gaveUp(call, undefined, earliestMs)
  await sleepOrThrow(call, Math.max(1, earliestMs))
}

/**
 * Makes one call upstream and turns its text into events; `started` comes with the first text, or with the end of an answer that
 * has none. The gate hears of the end, however it ends, before the caller does.
 */
async function* runAttempt(call: Call, hop: Hop, plan: AttemptPlan): AsyncGenerator<AiEvent, AttemptResult, undefined> {
  const { deps, options, deadlineMs } = call
  const { outputSchema, signal } = options
  const { request } = plan
  const attempt = createAttempt(deps, { id: plan.id, hop, request, outputSchema, deadlineMs, signal })
  const started: AiEvent = { type: 'started', model: hop.model.name, reason: call.restartReason, cached: false }
  let text = ''
  try {
    for await (const delta of attempt.texts()) {
      if (text === '') yield started
      text += delta
      call.shownText = text
      yield { type: 'delta', text: delta }
    }
  } finally {
    const { record, failure } = attempt.result()
    call.attempts.push(record)
    await deps.gate.settle(plan, { kind: 'ended', record, failure })
  }
  const result = attempt.result()
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
      cached: false,
      attempts: call.attempts,
      usage: record.usage,
      latencyMs: call.deps.clock.monotonicMs() - call.startedMs,
      timeToFirstTokenMs: firstTextAtMs === null ? null : firstTextAtMs - call.startedMs,
    },
  }
}
