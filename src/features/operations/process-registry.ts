import type { Clock } from '../../lib/clock.ts'
import type { Database, Statement } from '../../platform/database/database.ts'
import type { Logger } from '../../platform/logger.ts'
import type { ProcessVitals } from '../../platform/process-vitals.ts'
import type { MemoryAlert } from './memory-alert.ts'
import type { MemoryShortage } from './memory-guard.ts'

/**
 * The list of all processes, as rows: each writes a sign of life every five seconds and takes its row away when it stops. Who has been silent for
 * 15 s counts as dead; its row goes within a minute of its last sign, by whoever comes by. All by the database's clock, so that nobody's own matters.
 */
export interface ProcessRegistry {
  /**
   * Begins to give signs of life. Resolves after the first one, also when the database did not take it: that is logged, and tried again
   * every second.
   */
  start(work: ProcessWork): Promise<void>
  /** A sign of life now, because something has changed. Never rejects. */
  beat(): Promise<void>
  /** The workers that live, at most `cachedMs` old. Throws what Database.query throws. */
  workers(): Promise<Workers>
  /** Takes the row away, if the database is there. */
  close(): Promise<void>
}

/** What this process is doing at the moment. */
export type ProcessWork = {
  runningTasks(): number
  /** Whether it takes tasks. */
  claiming(): boolean
  memoryShortage(): MemoryShortage | null
}

export type Workers = {
  /** Processes with the role `worker` that have given a sign of life within the last 15 s. */
  alive: number
  /** Those of them that take tasks: not the ones that are short of memory or are being shut down. */
  claiming: number
}

export type ProcessRegistryDeps = {
  db: Database
  clock: Clock
  logger: Logger
  vitals: ProcessVitals
  memoryAlert: MemoryAlert
  processId: string
  roles: readonly string[]
  /** Between two signs of life. */
  beatMs?: number | undefined
}

const defaultBeatMs = 5_000
const retryMs = 1_000
/** Three signs of life in a row were missed. */
export const aliveMs = 15_000
const forgottenMs = 60_000
const cachedMs = 1_000

// Dead rows that another process is deleting, or that come to life just now, are skipped: two beats must never wait for each other.
const beatStatement: Statement = {
  name: 'process_beat',
  text: `WITH dead AS (
           DELETE FROM process WHERE id IN (
             SELECT id FROM process WHERE id <> $1 AND last_seen_at < clock_timestamp() - $9 * interval '1 millisecond'
                FOR UPDATE SKIP LOCKED))
         INSERT INTO process (id, roles, started_at, last_seen_at, rss_bytes, cpu_percent, event_loop_lag_ms, running_tasks, claiming)
         VALUES ($1, $2, $3, clock_timestamp(), $4, $5, $6, $7, $8)
         ON CONFLICT (id) DO UPDATE SET
           last_seen_at = excluded.last_seen_at, rss_bytes = excluded.rss_bytes, cpu_percent = excluded.cpu_percent,
           event_loop_lag_ms = excluded.event_loop_lag_ms, running_tasks = excluded.running_tasks, claiming = excluded.claiming`,
}
const leaveStatement: Statement = { name: 'process_leave', text: 'DELETE FROM process WHERE id = $1' }
const workersStatement: Statement = {
  name: 'process_workers',
  text: `SELECT count(*) AS alive, count(*) FILTER (WHERE claiming) AS claiming FROM process
          WHERE 'worker' = ANY (roles) AND last_seen_at > clock_timestamp() - $1 * interval '1 millisecond'`,
}

export function createProcessRegistry(deps: ProcessRegistryDeps): ProcessRegistry {
  const { db, clock, logger, vitals, memoryAlert, processId, roles, beatMs = defaultBeatMs } = deps
  const startedAt = clock.now()
  // Nobody else has the embedded database: whoever left a row there is dead.
  const deadAfterMs = db.kind === 'embedded' ? 0 : forgottenMs
  let work: ProcessWork | null = null
  let timer: NodeJS.Timeout | null = null
  let beating: Promise<void> | null = null
  let isAskedAgain = false
  let isAway = false
  let closed = false
  let known: { atMs: number; workers: Promise<Workers> } | null = null

  async function write(doing: ProcessWork): Promise<void> {
    const { rssBytes, cpuPercent, eventLoopLagMs } = vitals.measure()
    const now = [rssBytes, cpuPercent, eventLoopLagMs, doing.runningTasks(), doing.claiming()]
    await db.query(beatStatement, [processId, roles, startedAt, ...now, deadAfterMs])
    await memoryAlert.keep(doing.memoryShortage())
  }

  async function giveSign(doing: ProcessWork): Promise<void> {
    let nextMs = beatMs
    try {
      do {
        isAskedAgain = false
        await write(doing)
      } while (isAskedAgain && !closed)
      if (isAway) logger.info('signs of life reach the database again')
      isAway = false
    } catch (error) {
      if (!isAway) logger.warn({ err: error }, 'a sign of life did not reach the database; it is tried again')
      isAway = true
      nextMs = retryMs
    }
    beating = null
    if (closed) return
    timer = setTimeout(() => void beat(), nextMs)
    timer.unref()
  }

  function beat(): Promise<void> {
    if (work === null || closed) return Promise.resolve()
    if (timer !== null) clearTimeout(timer)
    isAskedAgain = beating !== null
    beating ??= giveSign(work)
    return beating
  }

  async function readWorkers(): Promise<Workers> {
    const [row] = await db.query<Workers>(workersStatement, [aliveMs], { retry: true })
    return row ?? { alive: 0, claiming: 0 }
  }

  return {
    start(doing) {
      work = doing
      return beat()
    },
    beat,
    workers() {
      const nowMs = clock.monotonicMs()
      if (known === null || nowMs - known.atMs >= cachedMs) {
        const workers = readWorkers()
        known = { atMs: nowMs, workers }
        // Who asks next must not be told of an outage that is over.
        workers.catch(() => (known = null))
      }
      return known.workers
    },
    async close() {
      closed = true
      if (timer !== null) clearTimeout(timer)
      await beating
      vitals.close()
      if (work === null) return
      try {
        await db.query(leaveStatement, [processId])
      } catch (error) {
        logger.warn({ err: error }, 'the row of this process stays until others take it away')
      }
    },
  }
}
