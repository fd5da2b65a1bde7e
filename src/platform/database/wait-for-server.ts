import pg from 'pg'
import { fullJitterDelayMs } from '../../lib/backoff.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Logger } from '../logger.ts'
import { translateConnectionError } from './database-errors.ts'

export type WaitForServerOptions = {
  connectionString: string
  clock: Clock
  logger: Logger
  /** In [0, 1). */
  random: () => number
  sleep: (ms: number, signal: AbortSignal) => Promise<void>
  /** For how long to try, in milliseconds. Default 30 000. */
  limitMs?: number
}

const oldestVersion = 15

/**
 * Resolves when the server answers and is new enough. While it cannot be reached (it may be starting, too) it is tried again;
 * after `limitMs` that is a ServiceUnavailableError. A wrong password or database is an error at once.
 */
export async function waitForServer(options: WaitForServerOptions): Promise<void> {
  const { connectionString, clock, logger, random, sleep, limitMs = 30_000 } = options
  const startedMs = clock.monotonicMs()
  for (let retry = 0; ; retry++) {
    try {
      return await checkServer(connectionString)
    } catch (error) {
      const leftMs = startedMs + limitMs - clock.monotonicMs()
      const unavailable = translateConnectionError(error)
      if (unavailable === null || leftMs <= 0) throw unavailable ?? error
      logger.warn({ err: error, leftMs: Math.round(leftMs) }, 'the database cannot be reached yet')
      const delayMs = 100 + fullJitterDelayMs(retry, { initialDelayMs: 200, maxDelayMs: 2_000, random })
      await sleep(Math.min(delayMs, leftMs), new AbortController().signal)
    }
  }
}

async function checkServer(connectionString: string): Promise<void> {
  const client = new pg.Client({ connectionString, connectionTimeoutMillis: 5_000, query_timeout: 5_000 })
  client.on('error', () => {})
  try {
    await client.connect()
    const { rows } = await client.query<{ version: number }>(
      `SELECT current_setting('server_version_num')::int AS version`,
    )
    const version = Math.floor((rows[0]?.version ?? 0) / 10_000)
    if (version < oldestVersion) {
      throw new Error(`The database is PostgreSQL ${version}; version ${oldestVersion} or newer is needed.`)
    }
  } finally {
    await client.end()
  }
}
