import { LRUCache } from 'lru-cache'
import type { Clock } from '../../lib/clock.ts'
import type { NewId } from '../../lib/ids.ts'
import {
  defaultBreakerRules,
  probePollMs,
  rememberedMs,
  windowSlots,
  type BreakerAdmission,
  type BreakerRules,
  type BreakerStatus,
  type BreakerVerdict,
  type CircuitBreakers,
} from './circuit-breaker.ts'

type Breaker = {
  /** Rises whenever it opens or closes. */
  generation: number
  isOpen: boolean
  /** How often in a row it opened without closing. */
  opened: number
  openUntilMs: number
  successes: number
  probe: string | null
  probeUntilMs: number
  failuresInARow: number
  slots: { slot: number; calls: number; failures: number }[]
  reason: string
  coolUntilMs: number
  coolReason: string
}

const maxBreakers = 10_000

/** For one process. The same rules as redis.ts; one contract suite holds both to them. */
export function createInProcessCircuitBreakers(options: {
  clock: Clock
  newId: NewId
  rules?: BreakerRules
}): CircuitBreakers {
  const { clock, newId, rules = defaultBreakerRules } = options
  const breakers = new LRUCache<string, Breaker>({
    max: maxBreakers,
    ttl: rememberedMs,
    updateAgeOnGet: true,
    perf: { now: () => clock.monotonicMs() },
  })

  return {
    async admit(key) {
      const nowMs = clock.monotonicMs()
      const breaker = breakers.get(key)
      if (breaker === undefined) return admit(0, null)
      if (breaker.coolUntilMs > nowMs) {
        return refuse('COOLING_DOWN', breaker.coolReason, breaker.coolUntilMs - nowMs)
      }
      if (!breaker.isOpen) return admit(breaker.generation, null)
      if (breaker.openUntilMs > nowMs) return refuse('OPEN', breaker.reason, breaker.openUntilMs - nowMs)
      if (breaker.probe !== null && breaker.probeUntilMs > nowMs) {
        return refuse('PROBING', breaker.reason, Math.min(probePollMs, breaker.probeUntilMs - nowMs))
      }
      breaker.probe = newId()
      breaker.probeUntilMs = nowMs + rules.probeLeaseMs
      return admit(breaker.generation, breaker.probe)
    },
    async settle(key, { generation, probe }, verdict) {
      const nowMs = clock.monotonicMs()
      if (verdict.result === 'none' && verdict.coolDownMs <= 0 && probe === null) return false
      const breaker = breakers.get(key) ?? newBreaker()
      breakers.set(key, breaker)
      coolDown(breaker, verdict, nowMs)
      if (probe !== null && breaker.probe === probe) breaker.probe = null
      if (generation !== breaker.generation || verdict.result === 'none') return false
      const judging = { verdict, nowMs, rules }
      if (!breaker.isOpen) count(breaker, judging)
      else if (probe !== null) judgeProbe(breaker, judging)
      return breaker.isOpen && breaker.generation !== generation
    },
    async inspect(keys) {
      const nowMs = clock.monotonicMs()
      return keys.map((key) => statusOf(breakers.get(key), nowMs))
    },
    async close() {
      breakers.clear()
    },
  }
}

type Judging = { verdict: BreakerVerdict; nowMs: number; rules: BreakerRules }

function newBreaker(): Breaker {
  return {
    generation: 0,
    isOpen: false,
    opened: 0,
    openUntilMs: 0,
    successes: 0,
    probe: null,
    probeUntilMs: 0,
    failuresInARow: 0,
    slots: [],
    reason: '',
    coolUntilMs: -Infinity,
    coolReason: '',
  }
}

function admit(generation: number, probe: string | null): BreakerAdmission {
  return { kind: 'admitted', ticket: { generation, probe, isShared: false } }
}

type Refused = Extract<BreakerAdmission, { kind: 'refused' }>

function refuse(state: Refused['state'], reason: string, waitMs: number): BreakerAdmission {
  return { kind: 'refused', state, reason, retryAfterMs: Math.max(1, Math.ceil(waitMs)) }
}

function coolDown(breaker: Breaker, { coolDownMs, reason }: BreakerVerdict, nowMs: number): void {
  if (coolDownMs <= 0 || nowMs + coolDownMs <= breaker.coolUntilMs) return
  breaker.coolUntilMs = nowMs + coolDownMs
  breaker.coolReason = reason
}

function count(breaker: Breaker, { verdict, nowMs, rules }: Judging): void {
  const slot = Math.floor(nowMs / (rules.windowMs / windowSlots))
  breaker.slots = breaker.slots.filter((one) => one.slot > slot - windowSlots)
  let current = breaker.slots.find((one) => one.slot === slot)
  if (current === undefined) breaker.slots.push((current = { slot, calls: 0, failures: 0 }))
  current.calls++
  if (verdict.result === 'succeeded') {
    breaker.failuresInARow = 0
    return
  }
  current.failures++
  breaker.failuresInARow++
  const calls = breaker.slots.reduce((sum, one) => sum + one.calls, 0)
  const failures = breaker.slots.reduce((sum, one) => sum + one.failures, 0)
  const isIll = calls >= rules.minCalls && failures >= calls * rules.failureRate
  if (isIll || breaker.failuresInARow >= rules.consecutiveFailures) open(breaker, { verdict, nowMs, rules })
}

function open(breaker: Breaker, { verdict, nowMs, rules }: Judging): void {
  breaker.isOpen = true
  breaker.generation++
  breaker.openUntilMs = nowMs + Math.min(rules.maxOpenMs, rules.openMs * 2 ** breaker.opened)
  breaker.opened++
  breaker.successes = 0
  breaker.probe = null
  breaker.reason = verdict.reason
}

function judgeProbe(breaker: Breaker, judging: Judging): void {
  if (judging.verdict.result === 'failed') return open(breaker, judging)
  breaker.successes++
  if (breaker.successes < judging.rules.successesToClose) return
  breaker.isOpen = false
  breaker.generation++
  breaker.opened = 0
  breaker.failuresInARow = 0
  breaker.slots = []
}

function statusOf(breaker: Breaker | undefined, nowMs: number): BreakerStatus {
  if (breaker !== undefined && breaker.coolUntilMs > nowMs) {
    return { state: 'COOLING_DOWN', reason: breaker.coolReason, availableInMs: Math.ceil(breaker.coolUntilMs - nowMs) }
  }
  if (breaker === undefined || !breaker.isOpen) return { state: 'CLOSED', reason: null, availableInMs: null }
  if (breaker.openUntilMs <= nowMs) return { state: 'PROBING', reason: breaker.reason, availableInMs: null }
  return { state: 'OPEN', reason: breaker.reason, availableInMs: Math.ceil(breaker.openUntilMs - nowMs) }
}
