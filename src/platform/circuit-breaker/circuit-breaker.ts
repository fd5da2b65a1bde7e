/**
 * Circuit breakers (Nygard, "Release It!"), one for each key, each with a cooldown beside it.
 *
 * | state        | begins                                                                  | lets through | ends                                |
 * | ------------ | ----------------------------------------------------------------------- | ------------ | ----------------------------------- |
 * | CLOSED       | at first; after `successesToClose` probes in a row that succeeded       | everything   | when it trips                       |
 * | OPEN         | when it trips: `consecutiveFailures`, or `failureRate` of at least      | nothing      | after openMs, doubled each time a   |
 * |              | `minCalls` calls in `windowMs`; when a probe fails                      |              | probe failed, at most maxOpenMs     |
 * | PROBING      | when OPEN ends                                                          | one leased probe at a time | with its verdict      |
 * | COOLING_DOWN | when a verdict says for how long, in whatever state the breaker is      | nothing      | then; it counts for nothing else    |
 *
 * A verdict counts only in the state that its call was admitted in: what was under way before a breaker opened neither opens it again nor
 * closes it. A probe that never ends is forgotten after `probeLeaseMs`, and another one may go.
 */
export interface CircuitBreakers {
  /** Every admission must be settled, also when the call was not made. */
  admit(key: string): Promise<BreakerAdmission>
  /** Resolves to true when the breaker opened by this verdict. */
  settle(key: string, ticket: BreakerTicket, verdict: BreakerVerdict): Promise<boolean>
  /** Without changing anything, in the order of the keys. */
  inspect(keys: readonly string[]): Promise<readonly BreakerStatus[]>
  /** Gives up connections. */
  close(): Promise<void>
}

/** What an admission must be settled with. Opaque. */
export type BreakerTicket = { readonly generation: number; readonly probe: string | null; readonly isShared: boolean }

export type BreakerAdmission =
  | { kind: 'admitted'; ticket: BreakerTicket }
  | {
      kind: 'refused'
      state: Exclude<BreakerState, 'CLOSED'>
      reason: string
      /** When to ask again: a whole number, at least 1. For PROBING it is a guess: nobody knows when the probe ends. */
      retryAfterMs: number
    }

export type BreakerVerdict = {
  /** `none`: the call says nothing of the health of what was called. */
  result: 'succeeded' | 'failed' | 'none'
  /** Why it failed or cools down; shown to people. */
  reason: string
  /** Nothing is let through for so long from now on; 0: no cooldown. */
  coolDownMs: number
}

export type BreakerState = 'CLOSED' | 'OPEN' | 'PROBING' | 'COOLING_DOWN'

export type BreakerStatus = {
  state: BreakerState
  /** Null when CLOSED. */
  reason: string | null
  /** Until calls are let through again; null when that is not known (PROBING) or needs no time (CLOSED). */
  availableInMs: number | null
}

export type BreakerRules = {
  windowMs: number
  minCalls: number
  /** Of the calls in the window, 0 to 1. */
  failureRate: number
  consecutiveFailures: number
  openMs: number
  maxOpenMs: number
  successesToClose: number
  probeLeaseMs: number
}

export const defaultBreakerRules: BreakerRules = {
  windowMs: 60_000,
  minCalls: 10,
  failureRate: 0.5,
  consecutiveFailures: 5,
  openMs: 5_000,
  maxOpenMs: 30_000,
  successesToClose: 2,
  probeLeaseMs: 30_000,
}

/** The window moves in twelfths of it. */
export const windowSlots = 12
/** How long those who ask during a probe wait before they ask again, at the most. */
export const probePollMs = 1_000
/** For how long a breaker that nobody uses is remembered after everything that it says is over. */
export const rememberedMs = 600_000
