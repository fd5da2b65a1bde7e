import type { Logger } from '../platform/logger.ts'
import type { CallSignal } from './call-signal.ts'
import type { Failure } from './failure.ts'
import { failureOf } from './failure.ts'
import type { CallScope, FailureOutcome, ModelRequest, UpstreamAttempt } from './model-call.ts'
import type { ResolvedModel } from './model-directory.ts'
import type { Provider } from './provider.ts'
import type { AttemptSize } from './attempt-size.ts'

/** One call of a provider that is about to be made. */
export type AttemptPlan = {
  /** The attempt's own, as it will be recorded: UUIDv7, never used twice. */
  readonly id: string
  readonly model: ResolvedModel
  readonly provider: Provider
  readonly request: ModelRequest
  /** For whom the call is made; the limits and budgets of all of them count. */
  readonly scopes: readonly CallScope[]
  /** How much it may use and cost, at an estimate and at the most. Counted when it is asked for. */
  readonly size: AttemptSize
  /** When the whole call is given up, on the clock's monotonic scale. */
  readonly deadlineMs: number
  /** Aborted when nobody waits for the answer any more: a gate that waits stops then. */
  readonly signal: CallSignal
}

/**
 * Whose limit a refusal is, and so what the chain does:
 *
 * | class    | what follows                                                                                         |
 * | -------- | ---------------------------------------------------------------------------------------------------- |
 * | provider | the next hop; when every hop is refused so, a wait for the earliest, or the call fails with it          |
 * | scope    | the call fails: another model would be used by the same agent or workspace. It may be made again later |
 * | budget   | the call fails                                                                                       |
 */
export type RefusalClass = 'provider' | 'scope' | 'budget'

export type Refusal = {
  class: RefusalClass
  /** What the call's error reports when this is what it fails with. */
  outcome: Extract<
    FailureOutcome,
    'breaker_open' | 'cooling_down' | 'provider_limited' | 'rate_limit_exceeded' | 'budget_exceeded'
  >
  /** For a person. It is shown and stored: no secrets. */
  message: string
  /** When it may be asked again, in milliseconds from now; null when that is not known. */
  retryAfterMs: number | null
}

/** `maxOutputTokens`: what was admitted is an answer of at most so many tokens, and the request says so, if it does not say less. */
export type Admission = { kind: 'admitted'; maxOutputTokens?: number } | { kind: 'refused'; refusal: Refusal }

/** What became of an attempt that was admitted. `not_sent`: another gate refused it, or the caller left before it was made. */
export type AttemptEnd =
  | { kind: 'not_sent' }
  | { kind: 'ended'; record: UpstreamAttempt; /** Null: it is an answer. */ failure: Failure | null }

/**
 * Decides whether a call of a provider may be made, and hears what became of it. A breaker, a rate limit and a budget are gates.
 *
 * For every attempt `admit` is called once before it is sent, and where it admitted, `settle` exactly once after it, whatever
 * happens. A process that dies in between never settles: what was reserved must expire by itself.
 */
export interface AttemptGate {
  /** Says no by a refusal. What it throws fails the call, so a gate whose store is away decides by itself. */
  admit(plan: AttemptPlan): Promise<Admission>
  /**
   * Is awaited before the caller sees the end of the attempt: what may be done later, do later. What it throws is logged
   * and costs no answer.
   */
  settle(plan: AttemptPlan, end: AttemptEnd): Promise<void>
  /**
   * Whether it would be a surprise if it refused. Then the next gate is asked at the same time and not after it; should it refuse all the same,
   * what the next one admitted is given back. Absent: it is not known.
   */
  expectsToAdmit?(plan: AttemptPlan): boolean
}

export const admitted: Admission = { kind: 'admitted' }

/**
 * Asks the gates in order, all or nothing: the first refusal gives back what the others admitted. Those of which no refusal is expected are asked
 * together with the next one, so that two that have to ask far away cost one way there and back.
 */
export function composeGates(gates: readonly AttemptGate[], { logger }: { logger: Logger }): AttemptGate {
  async function settleAll(passed: readonly AttemptGate[], plan: AttemptPlan, end: AttemptEnd): Promise<void> {
    const settled = await Promise.allSettled(passed.map((gate) => gate.settle(plan, end)))
    for (const one of settled) {
      if (one.status === 'fulfilled') continue
      const facts = { err: one.reason, attemptId: plan.id, model: plan.model.name }
      logger.error(facts, 'an attempt could not be settled')
    }
  }

  return {
    async admit(plan) {
      const passed: AttemptGate[] = []
      let maxOutputTokens = Infinity
      for (let next = 0; next < gates.length;) {
        const together = gates.slice(next, next + 1 + expectedFrom(gates, next, plan))
        next += together.length
        const answers = await Promise.allSettled(together.map((gate) => gate.admit(plan)))
        passed.push(...together.filter((_gate, index) => hasAdmitted(answers[index])))
        for (const answer of answers) {
          if (answer.status === 'fulfilled' && answer.value.kind === 'admitted') {
            maxOutputTokens = Math.min(maxOutputTokens, answer.value.maxOutputTokens ?? Infinity)
            continue
          }
          await settleAll(passed, plan, { kind: 'not_sent' })
          if (answer.status === 'rejected') throw answer.reason
          return answer.value
        }
      }
      return maxOutputTokens === Infinity ? admitted : { kind: 'admitted', maxOutputTokens }
    },
    settle: (plan, end) => settleAll(gates, plan, end),
  }
}

/** How many gates in a row, from `start` on, expect to admit; the last of all never counts. */
function expectedFrom(gates: readonly AttemptGate[], start: number, plan: AttemptPlan): number {
  let end = start
  while (end < gates.length - 1 && gates[end]?.expectsToAdmit?.(plan) === true) end++
  return end - start
}

function hasAdmitted(answer: PromiseSettledResult<Admission> | undefined): boolean {
  return answer?.status === 'fulfilled' && answer.value.kind === 'admitted'
}

/** A refusal as the chain and the call's error report it: the provider never heard of it. */
export function refusalFailure({ outcome, message, retryAfterMs }: Refusal): Failure {
  return { ...failureOf(outcome, message), retryAfterMs }
}
