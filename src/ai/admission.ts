import type { Logger } from '../platform/logger.ts'
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
  readonly signal: AbortSignal
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
}

export const admitted: Admission = { kind: 'admitted' }

/** Asks the gates in order, all or nothing: the first refusal gives back what those before it admitted. */
export function composeGates(gates: readonly AttemptGate[], { logger }: { logger: Logger }): AttemptGate {
  async function settleAll(passed: readonly AttemptGate[], plan: AttemptPlan, end: AttemptEnd): Promise<void> {
    for (const gate of passed.toReversed()) {
      try {
        await gate.settle(plan, end)
      } catch (error) {
        logger.error({ err: error, attemptId: plan.id, model: plan.model.name }, 'an attempt could not be settled')
      }
    }
  }

  return {
    async admit(plan) {
      const passed: AttemptGate[] = []
      let maxOutputTokens = Infinity
      try {
        for (const gate of gates) {
          const admission = await gate.admit(plan)
          if (admission.kind === 'refused') {
            await settleAll(passed, plan, { kind: 'not_sent' })
            return admission
          }
          passed.push(gate)
          maxOutputTokens = Math.min(maxOutputTokens, admission.maxOutputTokens ?? Infinity)
        }
      } catch (error) {
        await settleAll(passed, plan, { kind: 'not_sent' })
        throw error
      }
      return maxOutputTokens === Infinity ? admitted : { kind: 'admitted', maxOutputTokens }
    },
    settle: (plan, end) => settleAll(gates, plan, end),
  }
}

/** A refusal as the chain and the call's error report it: the provider never heard of it. */
export function refusalFailure({ outcome, message, retryAfterMs }: Refusal): Failure {
  return { ...failureOf(outcome, message), retryAfterMs }
}
