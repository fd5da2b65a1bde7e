import pg from 'pg'
import { createRowTypes } from './row-types.ts'

export type DatabaseTimeouts = {
  /** How long to wait for a connection of the pool, in milliseconds. */
  acquireMs: number
  /** How long one statement may run, in milliseconds. */
  statementMs: number
  /** How long an open transaction may wait for its next statement, in milliseconds. */
  idleInTransactionMs: number
}

export const defaultTimeouts: DatabaseTimeouts = { acquireMs: 10_000, statementMs: 15_000, idleInTransactionMs: 20_000 }

export type ConnectionPoolOptions = {
  connectionString: string
  kind: 'postgresql' | 'embedded'
  maxConnections: number
  timeouts: DatabaseTimeouts
  /** What an operator sees in `pg_stat_activity`. */
  applicationName: string
  /** A connection that nobody was using broke; the pool has dropped it already. */
  onIdleError: (error: Error) => void
}

// A server that vanished sends nothing, so the client must give up by itself; but the server's own limit comes first.
const silentServerGraceMs = 5_000

/** The bounded pool that Prisma and the hand-written SQL share. It throws what pg throws. Closed by `end()`. */
export function createConnectionPool(options: ConnectionPoolOptions): pg.Pool {
  const { acquireMs, statementMs, idleInTransactionMs } = options.timeouts
  const pool = new pg.Pool({
    connectionString: options.connectionString,
    max: options.maxConnections,
    application_name: options.applicationName,
    connectionTimeoutMillis: acquireMs,
    idleTimeoutMillis: options.kind === 'embedded' ? 0 : 60_000,
    keepAlive: true,
    types: createRowTypes(),
    // The embedded Postgres knows no time-outs: the client's is all there is.
    ...(options.kind === 'embedded'
      ? { query_timeout: statementMs }
      : {
          query_timeout: statementMs + silentServerGraceMs,
          statement_timeout: statementMs,
          idle_in_transaction_session_timeout: idleInTransactionMs,
        }),
  })
  pool.on('error', options.onIdleError)
  // While it is in use, its loss is the error of the query under way; without a listener it would end the process as well.
  pool.on('connect', (client) => client.on('error', () => {}))
  // A connection that comes back inside a transaction (its rollback was lost, or is still waiting) must not serve others.
  pool.on('release', (_error: unknown, client: pg.PoolClient) => {
    if (client.getTransactionStatus() !== 'I') void client.end()
  })
  return keepingConnections(pool)
}

// pg-pool closes a connection after *any* error of `pool.query`, a unique violation included, and with it the connection's
// prepared statements. Prisma runs everything outside of transactions through it. (brianc/node-postgres, pg-pool 3.14)
function keepingConnections(pool: pg.Pool): pg.Pool {
  async function query(config: pg.QueryConfig): Promise<pg.QueryResult> {
    const client = await pool.connect()
    try {
      const result = await client.query(config)
      client.release()
      return result
    } catch (error) {
      client.release(!isStatementError(error))
      throw error
    }
  }

  return new Proxy(pool, {
    get: (target, key) => (key === 'query' ? query : Reflect.get(target, key, target)),
  })
}

/** The statement failed, and the connection is as good as before. */
function isStatementError(error: unknown): boolean {
  return error instanceof pg.DatabaseError && error.severity === 'ERROR'
}
