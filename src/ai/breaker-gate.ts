import { LRUCache } from 'lru-cache'
import type {
  BreakerAdmission,
  BreakerTicket,
  BreakerVerdict,
  CircuitBreakers,
} from '../platform/circuit-breaker/circuit-breaker.ts'
import type { Logger } from '../platform/logger.ts'
import { admitted, type AttemptEnd, type AttemptGate, type AttemptPlan, type Refusal } from './admission.ts'
import type { BackgroundWork } from './background-work.ts'
import type { AttemptOutcome } from './model-call.ts'
import type { Provider } from './provider.ts'

const maxRefusing = 1_000
/** Nobody's wish is followed for longer. */
export const maxCoolDownMs = 3_600_000
/** For a key that is refused or has no money: it does not get better by asking. */
export const quarantineMs = 300_000

/**
 * What an outcome says of the health of a model at a provider, for the breaker:
 *
 * | outcome                                                          | counts as                                          |
 * | ---------------------------------------------------------------- | -------------------------------------------------- |
 * | an answer, also one that is refused or invalid                   | success                                            |
 * | 5xx, overload, no connection, silence, a stream that is cut      | failure                                            |
 * | 401, 402, 403, no quota                                          | nothing; quarantine                                |
 * | 429 and other 4xx, a deadline, a caller who left                 | nothing                                            |
 *
 * Whatever came with a Retry-After cools down for that long besides.
 */
const failures: ReadonlySet<AttemptOutcome> = new Set([
  'server_error',
  'overloaded',
  'connection_failed',
  'interrupted',
  'malformed_stream',
  'connect_timeout',
  'first_token_timeout',
  'idle_timeout',
])
const quarantined: ReadonlySet<AttemptOutcome> = new Set([
  'authentication_failed',
  'permission_denied',
  'quota_exhausted',
])
const answers: ReadonlySet<AttemptOutcome> = new Set(['succeeded', 'invalid_output', 'refused', 'content_filtered'])

export function breakerVerdict(end: AttemptEnd): BreakerVerdict {
  if (end.kind === 'not_sent') return { result: 'none', reason: '', coolDownMs: 0 }
  const { outcome, status } = end.record
  // A name and a number: what a provider says may hold parts of a prompt, and this is shown to everybody.
  const reason = status === null ? outcome : `${outcome} (${String(status)})`
  const wishMs = Math.min(end.failure?.retryAfterMs ?? 0, maxCoolDownMs)
  if (quarantined.has(outcome)) return { result: 'none', reason, coolDownMs: Math.max(wishMs, quarantineMs) }
  if (failures.has(outcome)) return { result: 'failed', reason, coolDownMs: wishMs }
  if (answers.has(outcome) && status === 200) return { result: 'succeeded', reason: '', coolDownMs: 0 }
  return { result: 'none', reason, coolDownMs: wishMs }
}

/** Names the breaker of a model at a provider by one key. */
export function breakerKey(provider: Pick<Provider, 'name' | 'keyId'>, model: string): string {
  return `${provider.name}:${provider.keyId}:${model}`
}

export type BreakerGateDeps = { breakers: CircuitBreakers; background: BackgroundWork; logger: Logger }

export function createBreakerGate({ breakers, background, logger }: BreakerGateDeps): AttemptGate {
  const tickets = new Map<string, BreakerTicket>()
  /** Keys whose breaker refused when it was asked last. */
  const refusing = new LRUCache<string, true>({ max: maxRefusing })

  async function settle(plan: AttemptPlan, ticket: BreakerTicket, end: AttemptEnd): Promise<void> {
    const verdict = breakerVerdict(end)
    const hasOpened = await breakers.settle(keyOf(plan), ticket, verdict)
    const model = plan.model.name
    if (hasOpened) logger.warn({ model, reason: verdict.reason, alert: 'breaker_open' }, 'a circuit breaker opened')
    if (end.kind === 'ended' && quarantined.has(end.record.outcome)) {
      const facts = { model, reason: verdict.reason, coolDownMs: verdict.coolDownMs, alert: 'model_quarantined' }
      logger.warn(facts, 'a model is not asked for a while: its provider refuses the key, or there is no money')
    }
  }

  return {
    async admit(plan) {
      const key = keyOf(plan)
      const admission = await breakers.admit(key)
      if (admission.kind === 'refused') {
        refusing.set(key, true)
        return { kind: 'refused', refusal: refusalOf(admission) }
      }
      refusing.delete(key)
      tickets.set(plan.id, admission.ticket)
      return admitted
    },
    expectsToAdmit: (plan) => !refusing.has(keyOf(plan)),
    async settle(plan, end) {
      const ticket = tickets.get(plan.id)
      if (ticket === undefined) return
      tickets.delete(plan.id)
      background.start('a circuit breaker could not be told of a call', settle(plan, ticket, end))
    },
  }
}

function keyOf({ provider, model }: AttemptPlan): string {
  return breakerKey(provider, model.model)
}

function refusalOf({ state, reason, retryAfterMs }: Extract<BreakerAdmission, { kind: 'refused' }>): Refusal {
  const seconds = String(Math.ceil(retryAfterMs / 1_000))
  switch (state) {
    case 'COOLING_DOWN':
      return {
        class: 'provider',
        outcome: 'cooling_down',
        message: `it cools down for another ${seconds} s after ${reason}`,
        retryAfterMs,
      }
    case 'OPEN':
      return {
        class: 'provider',
        outcome: 'breaker_open',
        message: `it failed too often, at last by ${reason}, and is not asked for another ${seconds} s`,
        retryAfterMs,
      }
    case 'PROBING':
      return {
        class: 'provider',
        outcome: 'breaker_open',
        message: `it failed too often, at last by ${reason}, and another call is trying it`,
        retryAfterMs,
      }
  }
}
