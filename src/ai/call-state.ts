import { fullJitterDelayMs } from '../lib/backoff.ts'
import type { Clock } from '../lib/clock.ts'
import { AppError } from '../lib/errors.ts'
import type { NewId } from '../lib/ids.ts'
import { sleep } from '../lib/sleep.ts'
import type { Logger } from '../platform/logger.ts'
import type { AttemptGate } from './admission.ts'
import { AiError } from './ai-error.ts'
import type { AttemptDeps, Hop } from './attempt-run.ts'
import type { CallSignal } from './call-signal.ts'
import { failureOf, failureRules, type Failure } from './failure.ts'
import type { CallScope, ModelName, ModelRequest, UpstreamAttempt } from './model-call.ts'
import type { OutputSchema } from './output-schema.ts'
import type { ResponseCache } from './response-cache.ts'

export const retryInitialDelayMs = 500
export const retryMaxDelayMs = 8_000
/** A longer wait is not worth it: the next model is asked instead. */
export const maxWaitMs = 30_000

export type ChainDeps = AttemptDeps & {
  clock: Clock
  newId: NewId
  random: () => number
  logger: Logger
  /** Asked before every call upstream, and told of its end. */
  gate: AttemptGate
  /** Null: no answer is remembered. */
  responses: ResponseCache | null
}

export type ChainOptions = {
  hops: readonly Hop[]
  request: ModelRequest
  outputSchema: OutputSchema | null
  scopes: readonly CallScope[]
  /** Aborts the call: the connection is closed at once, and the iteration ends by throwing. */
  signal: CallSignal
}

/** What is known of a call while its chain is run. */
export type Call = {
  deps: ChainDeps
  options: ChainOptions
  startedMs: number
  deadlineMs: number
  attempts: UpstreamAttempt[]
  /** The last failure of each hop, in the order of the chain. */
  lastFailures: Map<ModelName, Failure>
  /** The text of the latest run that showed any. */
  shownText: string
  restartReason: string | null
}

export function startCall(deps: ChainDeps, options: ChainOptions): Call {
  const startedMs = deps.clock.monotonicMs()
  const totalMs = options.hops[0]?.timeouts.totalMs ?? 0
  return {
    deps,
    options,
    startedMs,
    deadlineMs: startedMs + totalMs,
    attempts: [],
    lastFailures: new Map(),
    shownText: '',
    restartReason: null,
  }
}

/** Throws when nothing more may be begun: nobody waits for it, or its time is over. */
export function throwIfOver(call: Call, hop: Hop): void {
  const { signal } = call.options
  if (signal.aborted) throw aborted(call)
  if (call.deps.clock.monotonicMs() >= call.deadlineMs) {
    throw gaveUp(call, failureOf('deadline_exceeded', `no answer within ${String(hop.timeouts.totalMs)} ms in all`))
  }
}

/** The wait before the next try of the same hop, or null when it is not worth it. */
export function waitBefore(call: Call, retries: number, failure: Failure): number | null {
  const backoffMs = fullJitterDelayMs(retries, {
    initialDelayMs: retryInitialDelayMs,
    maxDelayMs: retryMaxDelayMs,
    random: call.deps.random,
  })
  const waitMs = Math.max(backoffMs, failure.retryAfterMs ?? 0)
  return isWorthWaiting(call, waitMs) ? waitMs : null
}

export function isWorthWaiting(call: Call, waitMs: number): boolean {
  return waitMs <= Math.min(maxWaitMs, call.deadlineMs - call.deps.clock.monotonicMs())
}

export async function sleepOrThrow(call: Call, waitMs: number): Promise<void> {
  const { signal } = call.options
  try {
    await sleep(waitMs, signal.platformSignal())
  } catch (error) {
    if (signal.aborted) throw aborted(call)
    throw error
  }
}

export function noteFailure(call: Call, { hop, failure }: { hop: Hop; failure: Failure }): void {
  call.lastFailures.set(hop.model.name, failure)
  const { outcome, status, requestId } = failure
  if (outcome === 'aborted') return
  // Not the message: what a provider says of a prompt may hold parts of it.
  const facts = { model: hop.model.name, outcome, status, requestId }
  if (failureRules[outcome].action === 'again')
    call.deps.logger.info(facts, 'an endpoint does not know an option: it is left out from now on')
  else call.deps.logger.warn(facts, 'a model gave no answer')
}

/** A hop was not asked. What it failed with in this call before says more than that. */
export function noteRefusal(call: Call, { hop, failure }: { hop: Hop; failure: Failure }): void {
  const before = call.lastFailures.get(hop.model.name)
  if (before === undefined || isRefusal(before)) call.lastFailures.set(hop.model.name, failure)
  call.deps.logger.debug({ model: hop.model.name, outcome: failure.outcome }, 'a model was not asked')
}

const refusalOutcomes: ReadonlySet<Failure['outcome']> = new Set(['breaker_open', 'cooling_down', 'provider_limited'])

function isRefusal({ outcome }: Failure): boolean {
  return refusalOutcomes.has(outcome)
}

/**
 * The error of the call: that of the first model, unless the caller, the deadline or a limit of the caller's (`ending`)
 * ended it. `retryAfterMs` goes before what that one said.
 */
export function gaveUp(call: Call, ending?: Failure, retryAfterMs?: number | null): AiError {
  const failures = [...call.lastFailures]
  const cause = ending ?? failures[0]?.[1]
  if (cause === undefined) throw new Error('a chain without a hop')
  const said = describeFailures(call).join('; then ')
  return new AiError(ending === undefined ? said : `${ending.message}${said === '' ? '' : `. ${said}`}`, {
    kind: cause.outcome,
    // Later, any of them may answer.
    retryable:
      ending === undefined
        ? failures.some(([, { outcome }]) => failureRules[outcome].retryable)
        : failureRules[ending.outcome].retryable,
    retryAfterMs: retryAfterMs === undefined ? cause.retryAfterMs : retryAfterMs,
    partialText: call.shownText,
    attempts: call.attempts,
    cause: cause.cause,
  })
}

/**
 * The error of a call that could not go on after models were asked: a gate's store is away, or a fault of ours. What the models failed with stays
 * what is reported, and the attempts are with it, because they may have cost something.
 */
export function brokeOff(call: Call, error: unknown): AiError {
  const { logger } = call.deps
  if (error instanceof AppError) logger.warn({ err: error }, 'a call could not go on')
  else logger.error({ err: error }, 'a call ended by a fault of this program')
  const first = [...call.lastFailures.values()][0]
  const why = error instanceof AppError ? error.message : 'Something went wrong inside the server.'
  const said = [...describeFailures(call), `the call could not go on: ${why}`].join('; then ')
  return new AiError(said, {
    kind: first?.outcome ?? 'interrupted',
    retryable: true,
    retryAfterMs: null,
    partialText: call.shownText,
    attempts: call.attempts,
    cause: error,
  })
}

function describeFailures({ lastFailures }: Call): string[] {
  return [...lastFailures].map(([model, failure]) => `${model}: ${failure.outcome} (${failure.message})`)
}

export function aborted(call: Call): AiError {
  return gaveUp(call, failureOf('aborted', 'The caller gave up', call.options.signal.reason))
}
