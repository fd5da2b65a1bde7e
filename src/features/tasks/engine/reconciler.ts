import type { Clock } from '../../../lib/clock.ts'
import type { Dispatch } from '../../../platform/dispatch/dispatch.ts'
import type { Logger } from '../../../platform/logger.ts'
import type { Announcer } from './announcer.ts'
import { createOverdueDependents } from './overdue-dependents.ts'
import type { Transitions } from './transitions.ts'

/** Repairs what crashes and lost messages leave behind, and queues what is due. Any number of processes may run one. */
export interface Reconciler {
  /** Begins to work, with a round at once. */
  start(): void
  /** One round now, or when the one under way is done; resolves after it. */
  reconcile(): Promise<void>
  /** Says that a task was scheduled: it may be due before the next round. */
  scheduled(): void
  stop(): Promise<void>
}

export type ReconcilerDeps = {
  transitions: Transitions
  announcer: Announcer
  dispatch: Dispatch
  clock: Clock
  logger: Logger
}

const intervalMs = 2_000
/** Between a look at what is due and the round for it: a task that is locked, or thousands of short retries, must not keep it running. */
const minGapMs = 25
/** A running task that was asked to stop is given up on after this long. */
const cancelGraceMs = 10_000
const tasksPerPass = 500
const maxPassesPerRound = 20
const maxHintsPerRound = 1_000

export function createReconciler(deps: ReconcilerDeps): Reconciler {
  const { transitions, announcer, dispatch, clock, logger } = deps
  const dependents = createOverdueDependents({ transitions, announcer })
  let interval: NodeJS.Timeout | null = null
  let timer: NodeJS.Timeout | null = null
  let dueAtMs = Infinity
  let round: Promise<void> | null = null
  let looking: Promise<void> | null = null
  let isAskedAgain = false
  let isLookAsked = false
  let isBeatDue = false
  let stopped = false

  async function repair(): Promise<void> {
    for (let pass = 0; pass < maxPassesPerRound; pass += 1) {
      const repaired = await transitions.reconcile({ cancelGraceMs, limit: tasksPerPass })
      await announcer.announce(repaired)
      if (repaired.length < tasksPerPass) break
    }
    if (!isBeatDue) return
    isBeatDue = false
    await dependents.tell()
    await hintAll()
  }

  async function hintAll(): Promise<void> {
    const workspaceIds = await transitions.workspacesWithWork(maxHintsPerRound)
    const hints = await Promise.allSettled(workspaceIds.map((workspaceId) => dispatch.hint(workspaceId)))
    const lost = hints.find((hint) => hint.status === 'rejected')
    if (lost !== undefined)
      logger.debug({ err: lost.reason, hints: hints.length }, 'hints were lost; the next round tries again')
  }

  async function runRound(): Promise<void> {
    try {
      do {
        isAskedAgain = false
        await repair()
        await arm()
      } while (isAskedAgain)
    } catch (error) {
      logger.warn({ err: error }, 'a round of the reconciler failed; the next one tries again')
    }
    // At once, or who asks in the same turn would be told that it was done.
    round = null
  }

  /** Has the next round begin when the next task is due, should that be before the interval is over. */
  async function arm(): Promise<void> {
    const dueInMs = (await transitions.nextDueInMs()) ?? Infinity
    const delayMs = Math.max(minGapMs, Math.ceil(dueInMs))
    const nowMs = clock.monotonicMs()
    if (stopped || delayMs >= intervalMs || nowMs + delayMs >= dueAtMs) return
    if (timer !== null) clearTimeout(timer)
    dueAtMs = nowMs + delayMs
    timer = setTimeout(() => {
      dueAtMs = Infinity
      void reconcile()
    }, delayMs)
  }

  async function look(): Promise<void> {
    try {
      do {
        isLookAsked = false
        await arm()
      } while (isLookAsked && !stopped)
    } catch (error) {
      logger.warn({ err: error }, 'the time of the next scheduled task could not be read; the next round does')
    }
    looking = null
  }

  function reconcile(): Promise<void> {
    if (stopped) return Promise.resolve()
    isAskedAgain = round !== null
    round ??= runRound()
    return round
  }

  function reconcileAll(): void {
    isBeatDue = true
    // A round that takes longer than the interval is not followed by another at once.
    if (round === null) void reconcile()
  }

  return {
    start() {
      interval = setInterval(reconcileAll, intervalMs)
      reconcileAll()
    },
    reconcile,
    scheduled() {
      isLookAsked = true
      if (!stopped) looking ??= look()
    },
    async stop() {
      stopped = true
      if (interval !== null) clearInterval(interval)
      if (timer !== null) clearTimeout(timer)
      await round
      await looking
    },
  }
}
