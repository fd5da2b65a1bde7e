import { PrismaPg } from '@prisma/adapter-pg'
import { PrismaClient } from '../../generated/prisma/client.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Logger } from '../logger.ts'
import { createConnectionPool, defaultTimeouts } from './connection-pool.ts'
import type { DatabaseTimeouts } from './connection-pool.ts'
import type { Database } from './database.ts'
import { withRetry } from './retry.ts'

export type ConnectDatabaseOptions = {
  kind: Database['kind']
  connectionString: string
  /** How many connections at most; embedded it is always one. */
  poolSize: number
  timeouts?: Partial<DatabaseTimeouts> | undefined
  clock: Clock
  logger: Logger
  /** In [0, 1). */
  random: () => number
  sleep: (ms: number, signal: AbortSignal) => Promise<void>
  /** Called with the text of every statement, also of Prisma's, just before it is sent. */
  onStatement?: ((sql: string) => void) | undefined
}

const defaultMaxAttempts = 4
const defaultTransactionTimeoutMs = 10_000

/** A Database on a Postgres that is there and migrated. No connection is opened before the first query. */
export function connectDatabase(options: ConnectDatabaseOptions): Database {
  const { clock, logger, onStatement = () => {} } = options
  const timeouts = { ...defaultTimeouts, ...options.timeouts }
  const pool = createConnectionPool({
    connectionString: options.connectionString,
    kind: options.kind,
    maxConnections: options.kind === 'embedded' ? 1 : options.poolSize,
    timeouts,
    applicationName: 'monk',
    onIdleError: (error) => logger.warn({ err: error }, 'an idle database connection broke'),
  })
  const adapter = new PrismaPg(pool, {
    // Prisma's texts are too many to prepare them all: a connection would keep every one of them for ever.
    statementNameGenerator({ sql }) {
      onStatement(sql)
      return ''
    },
  })
  // Its other formats read the source files of the caller for every error, and print the arguments.
  const prisma = new PrismaClient({ adapter, errorFormat: 'minimal' })
  const closing = new AbortController()
  const retrying = <T>(attempt: () => Promise<T>, maxAttempts: number): Promise<T> =>
    withRetry(attempt, { maxAttempts, random: options.random, sleep: options.sleep, signal: closing.signal })

  const database: Database = {
    kind: options.kind,
    prisma,
    async query({ name, text }, values, { retry = false } = {}) {
      const attempt = () => {
        onStatement(text)
        return pool.query({ name, text, values: [...values] })
      }
      return (await retrying(attempt, retry ? defaultMaxAttempts : 1)).rows
    },
    transaction(work, { maxAttempts = defaultMaxAttempts, timeoutMs = defaultTransactionTimeoutMs } = {}) {
      // The pool's own limit must come first: it is the one that says what was missing.
      const limits = { timeout: timeoutMs, maxWait: timeouts.acquireMs + 1_000 }
      return retrying(() => prisma.$transaction(work, limits), maxAttempts)
    },
    async ping() {
      const startedMs = clock.monotonicMs()
      await database.query({ name: 'ping', text: 'SELECT 1' }, [])
      return clock.monotonicMs() - startedMs
    },
    poolStats: () => ({
      total: pool.totalCount,
      idle: pool.idleCount,
      waiting: pool.waitingCount,
      max: pool.options.max,
    }),
    async close() {
      closing.abort(new Error('the database is being closed'))
      await prisma.$disconnect()
      await pool.end()
    },
  }
  return database
}
