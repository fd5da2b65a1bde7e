import type { Clock } from '../../lib/clock.ts'
import type { Logger } from '../../platform/logger.ts'
import { RunStopped } from './run.ts'
import type { Transitions } from './transitions.ts'

/** A run in this process: its lease, and the switch that stops it. */
export type LiveRun = { taskId: string; leaseToken: string; control: AbortController }

export type HeartbeatDeps = {
  transitions: Pick<Transitions, 'heartbeat'>
  runs: ReadonlyMap<string, LiveRun>
  clock: Clock
  logger: Logger
  leaseMs: number
}

/** A lease is renewed three times in its life, so that one lost heartbeat loses no task. */
const beatsPerLease = 3

/**
 * Keeps the leases of all runs of this process in one statement, and hears of cancellations that nobody told it. Stops what is not ours any
 * more; when the database has not answered for as long as a lease lasts, that is everything. Returns the function that ends it.
 */
export function startHeartbeat({ transitions, runs, clock, logger, leaseMs }: HeartbeatDeps): () => Promise<void> {
  let lastAnswerMs = clock.monotonicMs()
  let beating: Promise<void> | null = null

  async function beat(): Promise<void> {
    const beaten = [...runs.values()]
    if (beaten.length === 0) {
      lastAnswerMs = clock.monotonicMs()
      return
    }
    const startedMs = clock.monotonicMs()
    try {
      const kept = new Map(
        (await transitions.heartbeat(beaten, leaseMs)).map((row) => [row.taskId, row.cancelRequested]),
      )
      lastAnswerMs = startedMs
      for (const { taskId, control } of beaten) {
        const cancelRequested = kept.get(taskId)
        if (cancelRequested === undefined) control.abort(new RunStopped('lease-lost'))
        else if (cancelRequested) control.abort(new RunStopped('cancelled'))
      }
    } catch (error) {
      logger.warn({ err: error, runs: beaten.length }, 'a heartbeat did not reach the database')
      if (clock.monotonicMs() - lastAnswerMs < leaseMs) return
      for (const { control } of beaten) control.abort(new RunStopped('lease-lost'))
    }
  }

  const timer = setInterval(() => {
    beating ??= beat().finally(() => (beating = null))
  }, leaseMs / beatsPerLease)

  return async () => {
    clearInterval(timer)
    await beating
  }
}
