import type { Clock } from '../../../lib/clock.ts'
import type { Logger } from '../../../platform/logger.ts'
import { RunStopped } from './run.ts'
import type { Transitions } from './transitions.ts'

/** A run in this process: its lease, and the switch that stops it. */
export type LiveRun = {
  taskId: string
  leaseToken: string
  control: AbortController
  /** When the database was last asked for the lease and gave it, by the monotonic clock. */
  keptAtMs: number
}

export type HeartbeatDeps = {
  transitions: Pick<Transitions, 'heartbeat'>
  runs: ReadonlyMap<string, LiveRun>
  clock: Clock
  logger: Logger
  leaseMs: number
}

/** A lease is renewed three times in its life, so that one lost heartbeat loses no task. */
const beatsPerLease = 3
/** However long a lease is: a cancellation whose message was lost waits for the next beat. */
const maxBeatMs = 4_000

/**
 * Keeps the leases of all runs of this process in one statement, and hears of cancellations that nobody told it. Stops what is not ours any
 * more, and that is also what the database has not answered for in as long as a lease lasts. Returns the function that ends it.
 */
export function startHeartbeat({ transitions, runs, clock, logger, leaseMs }: HeartbeatDeps): () => Promise<void> {
  let beating: Promise<void> | null = null

  async function beat(): Promise<void> {
    const beaten = [...runs.values()]
    if (beaten.length === 0) return
    const startedMs = clock.monotonicMs()
    try {
      const kept = new Map(
        (await transitions.heartbeat(beaten, leaseMs)).map((row) => [row.leaseToken, row.cancelRequested]),
      )
      for (const run of beaten) {
        const cancelRequested = kept.get(run.leaseToken)
        if (cancelRequested === undefined) run.control.abort(new RunStopped('lease-lost'))
        else run.keptAtMs = startedMs
        if (cancelRequested === true) run.control.abort(new RunStopped('cancelled'))
      }
    } catch (error) {
      logger.warn({ err: error, runs: beaten.length }, 'a heartbeat did not reach the database')
    }
  }

  // Not left to `beat`: it may be waiting for an answer for longer than a lease lasts.
  function stopOverdue(): void {
    const nowMs = clock.monotonicMs()
    for (const { control, keptAtMs } of runs.values()) {
      if (nowMs - keptAtMs >= leaseMs) control.abort(new RunStopped('lease-lost'))
    }
  }

  const timer = setInterval(
    () => {
      stopOverdue()
      beating ??= beat().finally(() => (beating = null))
    },
    Math.min(leaseMs / beatsPerLease, maxBeatMs),
  )

  return async () => {
    clearInterval(timer)
    await beating
  }
}
