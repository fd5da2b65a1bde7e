import { createCleanup } from '../../lib/cleanup.ts'
import { applyMigrations } from './apply-migrations.ts'
import { connectDatabase } from './connect-database.ts'
import type { ConnectDatabaseOptions } from './connect-database.ts'
import { defaultTimeouts } from './connection-pool.ts'
import type { Database } from './database.ts'
import { startEmbeddedPostgres, type EmbeddedPostgres, type EmbeddedPostgresOptions } from './embedded-postgres.ts'
import { waitForServer } from './wait-for-server.ts'

export type CreateDatabaseOptions = Omit<ConnectDatabaseOptions, 'kind' | 'connectionString'> & {
  /** Of a PostgreSQL 15 or newer; null: Postgres inside this program. */
  url: string | null
  /** Where the embedded Postgres keeps its data. */
  dataDirectory: string
  /** The embedded Postgres broke: the process should say so and end. Not called after `close`. */
  onCrash: (error: Error) => void
  /** Starts the embedded Postgres; default: a new one in a thread of its own. */
  startEmbedded?: StartEmbedded | undefined
}

export type StartEmbedded = (options: EmbeddedPostgresOptions) => Promise<EmbeddedPostgres>

/**
 * A Database that is ready: the server reached or the embedded Postgres started, and all migrations applied.
 *
 * Throws DataDirectoryInUseError, MigrationError, and after 30 s ServiceUnavailableError when a server does not answer.
 * `close` also stops the embedded Postgres.
 */
export async function createDatabase(options: CreateDatabaseOptions): Promise<Database> {
  return options.url === null ? createEmbedded(options) : createOnServer(options, options.url)
}

async function createOnServer(options: CreateDatabaseOptions, connectionString: string): Promise<Database> {
  const { clock, logger, random, sleep } = options
  await waitForServer({ connectionString, clock, logger, random, sleep })
  await applyMigrations({ kind: 'postgresql', connectionString, logger })
  return connectDatabase({ ...options, kind: 'postgresql', connectionString })
}

async function createEmbedded(options: CreateDatabaseOptions): Promise<Database> {
  const { dataDirectory, logger, onCrash, startEmbedded = startEmbeddedPostgres } = options
  const idleInTransactionMs = options.timeouts?.idleInTransactionMs ?? defaultTimeouts.idleInTransactionMs
  const cleanup = createCleanup()
  const postgres = await startEmbedded({ dataDirectory, idleInTransactionMs, onCrash })
  cleanup.add('the embedded Postgres', () => postgres.close())
  try {
    const { connectionString } = postgres
    await applyMigrations({ kind: 'embedded', connectionString, logger })
    const database = connectDatabase({ ...options, kind: 'embedded', connectionString })
    cleanup.add('the connection to it', () => database.close())
    postgres.announce()
    return { ...database, close: () => cleanup.run() }
  } catch (error) {
    await cleanup.run()
    throw error
  }
}
