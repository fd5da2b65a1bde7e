import { setTimeout as delay } from 'node:timers/promises'
import type { Clock } from '../../../lib/clock.ts'
import { throughOutages } from '../../../platform/database/through-outages.ts'
import type { Dispatch } from '../../../platform/dispatch/dispatch.ts'
import type { Events } from '../../../platform/events/events.ts'
import type { Logger } from '../../../platform/logger.ts'
import type { Ledger, RecordedCall } from '../../usage/ledger.ts'
import type { Announcer } from './announcer.ts'
import { startHeartbeat, type LiveRun } from './heartbeat.ts'
import { cancelTopic, parseCancelMessage } from './cancel-message.ts'
import { run, RunStopped, type RunDeps } from './run.ts'
import { createSlots } from './slots.ts'
import type { StepBatcher } from './step-batcher.ts'
import type { ClaimedRun } from './task-json.ts'
import type { OutputDeltaRecord } from '../streams/task-messages.ts'
import type { Transitions } from './transitions.ts'
import type { RunEnd } from './transition-input.ts'

/** Runs tasks: free slot → hint → claim → model → end. */
export interface Worker {
  runningTasks(): number
  /** Claims nothing more until `resume`; what runs goes on, and other processes take what is waiting. */
  pause(): void
  resume(): void
  /**
   * Stops claiming, lets runs go on for `graceMs` milliseconds, then gives the rest back as QUEUED, which costs them no attempt.
   */
  stop(graceMs: number): Promise<void>
}

export type WorkerDeps = RunDeps & {
  transitions: Pick<Transitions, 'heartbeat' | 'postpone'>
  announcer: Announcer
  steps: StepBatcher
  ledger: Ledger
  dispatch: Dispatch
  events: Events
  clock: Clock
  logger: Logger
  concurrency: number
  leaseMs: number
}

export async function startWorker(deps: WorkerDeps): Promise<Worker> {
  const { steps, ledger, dispatch, events, clock, random, logger, concurrency } = deps
  const runs = new Map<string, LiveRun>()
  const going = new Set<Promise<void>>()
  const slots = createSlots(concurrency)
  const givingBack = new AbortController()

  function keep(work: Promise<void>): void {
    const kept = logged(work).finally(() => going.delete(kept))
    going.add(kept)
  }

  async function logged(work: Promise<void>): Promise<void> {
    await work.catch((error: unknown) => logger.error({ err: error }, 'a run could not be ended'))
  }

  // One turn of a workspace. When something is left, its next hint goes to the tail of the queue, so that workspaces take turns.
  async function takeHint(workspaceId: string): Promise<void> {
    if (await slots.take()) keep(claimAndRun(workspaceId, 1 + slots.takeFree(maxClaimsPerTurn - 1)))
  }

  /** Runs what it gets in as many slots as were taken for it, and gives the others back. */
  async function claimAndRun(workspaceId: string, slotCount: number): Promise<void> {
    let claimed: readonly ClaimedRun[] = []
    try {
      claimed = await steps.claim(workspaceId, slotCount)
    } finally {
      for (let unused = slotCount - claimed.length; unused > 0; unused -= 1) slots.release()
    }
    // Not kept by themselves: who stops the worker waits for what was under way, and that includes them.
    await Promise.all(claimed.map((one) => logged(execute(one))))
  }

  /**
   * The slot of a run that is about to be ended. While others are free, nobody waits for this one: the workspace may go on in it, with a claim
   * that shares the transaction of the end. Otherwise it goes to whoever has the next turn.
   */
  function passOn({ task: { workspaceId } }: ClaimedRun): void {
    if (slots.free() > 0) keep(claimAndRun(workspaceId, 1))
    else slots.release()
  }

  async function execute(claimed: ClaimedRun): Promise<void> {
    const control = new AbortController()
    const { leaseToken } = claimed
    const { id: taskId, attempt } = claimed.task
    runs.set(leaseToken, { taskId, leaseToken, control, keptAtMs: clock.monotonicMs() })
    // It was claimed while the worker stopped.
    if (givingBack.signal.aborted) control.abort(new RunStopped('shutdown'))
    logger.debug({ taskId, attempt, agentId: claimed.agent.id }, 'run started')
    try {
      const result = await run(claimed, control, deps)
      logger.debug({ taskId, attempt, outcome: result.end?.outcome ?? 'LEASE_LOST' }, 'run ended')
      passOn(claimed)
      await (result.end === null ? record(result.calls) : finish(result.end, result.tail))
    } finally {
      runs.delete(leaseToken)
    }
  }

  async function finish(end: RunEnd, tail: OutputDeltaRecord | null): Promise<void> {
    // Not postponed: somebody wants it cancelled, or has it by now. Ending it sees to that.
    if (end.outcome === 'LIMITED' && (await postpone(end, deps))) return
    const ended = await steps.end(end, tail).catch((error: unknown) => {
      logger.error({ err: error, taskId: end.taskId }, 'the database refused the end of a run')
      return endUnwritable(end)
    })
    if (ended) return
    logger.warn({ taskId: end.taskId }, 'a run lost its lease before its end was written')
    await record(end.calls)
  }

  // Nothing but what is ours, or it would be refused again and the task be run again and again. The calls go by themselves.
  async function endUnwritable({ taskId, leaseToken, calls }: RunEnd): Promise<boolean> {
    const ended = await steps.end({ ...unwritableEnd, taskId, leaseToken }, null)
    await record(calls)
    return ended
  }

  // The money was spent: what the database is away for is written when it is back.
  async function record(calls: readonly RecordedCall[]): Promise<void> {
    await throughOutages(() => ledger.record(calls), { random, signal: givingBack.signal })
  }

  const cancellations = await events.subscribe(cancelTopic, (message) => {
    const cancelled = new Set(parseCancelMessage(message)?.taskIds)
    for (const { taskId, control } of runs.values()) {
      if (cancelled.has(taskId)) control.abort(new RunStopped('cancelled'))
    }
  })
  const stopHeartbeat = startHeartbeat({ ...deps, runs })
  const stopConsuming = dispatch.consume(takeHint, () => slots.untilFree())

  return {
    runningTasks: () => runs.size,
    pause: () => slots.pause(),
    resume: () => slots.resume(),
    async stop(graceMs) {
      const stopped = stopConsuming()
      slots.close()
      await stopped
      await settledWithin([...going], graceMs)
      givingBack.abort(new RunStopped('shutdown'))
      for (const { control } of runs.values()) control.abort(new RunStopped('shutdown'))
      await settledWithin([...going], releaseMs)
      await stopHeartbeat()
      await cancellations.unsubscribe()
    },
  }
}

/** A process that takes all its free slots for one agent makes the others wait: 145 ms instead of 23 at the 99th percentile. */
const maxClaimsPerTurn = 4

async function postpone(end: RunEnd, { transitions, announcer }: WorkerDeps): Promise<boolean> {
  const { transitions: postponed, isPostponed } = await transitions.postpone(end)
  await announcer.announce(postponed)
  return isPostponed
}

const unwritableEnd = {
  outcome: 'FAILED',
  reason: 'The result could not be stored.',
  retryDelayMs: null,
  error: { code: 'INTERNAL_SERVER_ERROR', message: 'The result could not be stored.', retryable: false },
  output: null,
  outputJson: null,
  model: null,
  timeToFirstTokenMs: null,
  calls: [],
} as const

/** How long giving back may take before the leases are left to run out. */
const releaseMs = 5_000

async function settledWithin(work: readonly Promise<void>[], ms: number): Promise<void> {
  const timer = new AbortController()
  const timeUp = delay(ms, undefined, { signal: timer.signal }).catch(() => undefined)
  await Promise.race([Promise.all(work), timeUp])
  timer.abort()
}
