import type { Dispatch } from '../../platform/dispatch/dispatch.ts'
import type { Logger } from '../../platform/logger.ts'
import type { Announcer } from './announcer.ts'
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
  logger: Logger
}

const intervalMs = 2_000
/** A running task that was asked to stop is given up on after this long. */
const cancelGraceMs = 10_000
const tasksPerPass = 500
const maxPassesPerRound = 20
const maxHintsPerRound = 1_000

export function createReconciler({ transitions, announcer, dispatch, logger }: ReconcilerDeps): Reconciler {
  let timer: NodeJS.Timeout | null = null
  let round: Promise<void> | null = null
  let isAskedAgain = false
  let stopped = false

  async function repair(): Promise<void> {
    for (let pass = 0; pass < maxPassesPerRound; pass += 1) {
      const repaired = await transitions.reconcile({ cancelGraceMs, limit: tasksPerPass })
      await announcer.announce(repaired)
      if (repaired.length < tasksPerPass) break
    }
    const agentIds = await transitions.agentsWithWork(maxHintsPerRound)
    const hints = await Promise.allSettled(agentIds.map((agentId) => dispatch.hint(agentId)))
    const lost = hints.find((hint) => hint.status === 'rejected')
    if (lost !== undefined)
      logger.debug({ err: lost.reason, hints: hints.length }, 'hints were lost; the next round tries again')
  }

  async function runRound(): Promise<void> {
    let dueInMs: number | null = null
    try {
      do {
        isAskedAgain = false
        await repair()
        dueInMs = await transitions.nextDueInMs()
      } while (isAskedAgain)
    } catch (error) {
      logger.warn({ err: error }, 'a round of the reconciler failed; the next one tries again')
    }
    arm(Math.min(intervalMs, Math.max(0, Math.ceil(dueInMs ?? intervalMs))))
  }

  function arm(delayMs: number): void {
    if (timer !== null) clearTimeout(timer)
    timer = stopped ? null : setTimeout(() => void reconcile(), delayMs)
  }

  function reconcile(): Promise<void> {
    if (stopped) return Promise.resolve()
    isAskedAgain = round !== null
    round ??= runRound().finally(() => (round = null))
    return round
  }

  return {
    start: () => arm(0),
    reconcile,
    scheduled() {
      if (!stopped) void reconcile()
    },
    async stop() {
      stopped = true
      if (timer !== null) clearTimeout(timer)
      await round
    },
  }
}
