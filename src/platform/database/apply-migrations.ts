import pg from 'pg'
import type { Logger } from '../logger.ts'
import type { Database } from './database.ts'
import { migrationsFolder, readMigrations, readMigrationStatus, toMigrationList } from './migrations.ts'
import type { Migration, MigrationStatus } from './migrations.ts'
import { createSchemaEngine, noSchemaFilters } from './schema-engine.ts'

export type ApplyMigrationsOptions = {
  kind: Database['kind']
  connectionString: string
  logger: Logger
  /** Where they are; default: this program's own. */
  folder?: string | undefined
}

/** The database cannot be brought up to date without a person. */
export class MigrationError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'MigrationError'
  }
}

/**
 * Brings the database up to date through Prisma's engine, each migration as one transaction; returns the names of those that
 * it applied. Several processes may start at once: one does it, the others wait. With nothing to do it costs two queries.
 *
 * Throws MigrationError when one fails, has failed before, or was edited after it had been applied.
 */
export async function applyMigrations(options: ApplyMigrationsOptions): Promise<string[]> {
  const { folder = migrationsFolder, logger } = options
  const migrations = await readMigrations(folder)
  await using pool = onePool(options.connectionString)
  const status = await readMigrationStatus(pool.pool, migrations)
  if (status.unknown.length > 0) {
    logger.warn({ migrations: status.unknown }, 'the database was migrated by a newer version of this program')
  }
  if (status.pending.length + status.failed.length + status.edited.length === 0) return []
  // What looks unfinished may be under way in another process: only who has the lock can tell.
  // One process has an embedded database, and only one transaction at a time fits into it.
  const applied =
    options.kind === 'embedded'
      ? await run(pool.pool, { folder, migrations })
      : await underLock(options.connectionString, () => run(pool.pool, { folder, migrations }))
  if (applied.length > 0) logger.info({ migrations: applied }, 'migrations applied')
  return applied
}

/**
 * After a failed migration was looked at: `rolled-back` lets it be tried again, `applied` takes it as done.
 * Its changes are one transaction, so normally nothing of it is there, and `rolled-back` is right.
 */
export async function resolveMigration(
  options: ApplyMigrationsOptions,
  { name, as }: { name: string; as: 'rolled-back' | 'applied' },
): Promise<void> {
  const { folder = migrationsFolder } = options
  const migrations = await readMigrations(folder)
  await using pool = onePool(options.connectionString)
  const engine = await createSchemaEngine({ pool: pool.pool })
  if (as === 'rolled-back') await engine.markMigrationRolledBack({ migrationName: name })
  else {
    await engine.markMigrationApplied({ migrationName: name, migrationsList: toMigrationList(folder, migrations) })
  }
}

function refuse({ edited, failed }: MigrationStatus): void {
  const first = failed[0]
  if (first !== undefined) {
    const reason = first.log === null || first.log === '' ? 'its process was ended half-way' : withoutTrace(first.log)
    throw new MigrationError(
      `The migration ${first.name}, begun at ${first.startedAt.toISOString()}, did not finish: ${reason}\n` +
        `When the cause is gone, run "monk migrate resolve ${first.name} rolled-back", then start again.`,
    )
  }
  if (edited.length > 0) {
    throw new MigrationError(
      `Edited after they had been applied: ${edited.join(', ')}. ` +
        'Restore their files, and put the change into a new migration.',
    )
  }
}

async function run(
  pool: pg.Pool,
  { folder, migrations }: { folder: string; migrations: readonly Migration[] },
): Promise<string[]> {
  const status = await readMigrationStatus(pool, migrations)
  refuse(status)
  if (status.pending.length === 0) return []
  const engine = await createSchemaEngine({ pool })
  try {
    const result = await engine.applyMigrations({
      migrationsList: toMigrationList(folder, migrations),
      filters: noSchemaFilters,
    })
    return result.appliedMigrationNames
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    const name = /migration_name="([^"]+)"/.exec(message)?.[1] ?? status.pending[0]
    throw new MigrationError(`The migration ${name} could not be applied: ${withoutTrace(message)}`, { cause: error })
  }
}

// The engine appends where in its own sources it happened.
const withoutTrace = (message: string): string =>
  message.replace(/^external connector error\n/, '').replace(/\n\s+0: [\s\S]*$/, '')

// Any constant will do, as long as nobody else has the same one: "monk" in ASCII.
const lockKey = 0x6d6f6e6b
const lockWaitMs = 120_000

// An advisory lock of a transaction, not of a session, so that it works through a transaction pooler, too.
async function underLock<T>(connectionString: string, work: () => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString, connectionTimeoutMillis: 10_000 })
  let lost: Error | null = null
  client.on('error', (error) => (lost = error))
  await client.connect()
  try {
    await client.query(
      `BEGIN; SET LOCAL lock_timeout = ${lockWaitMs}; SET LOCAL statement_timeout = 0;
       SET LOCAL idle_in_transaction_session_timeout = 0; SELECT pg_advisory_xact_lock(${lockKey})`,
    )
    const result = await work()
    await client.query('COMMIT')
    return result
  } catch (error) {
    throw lost === null ? error : new MigrationError('The connection was lost while migrating.', { cause: lost })
  } finally {
    await client.end()
  }
}

// One connection, as the engine needs it, without the time limits of normal work: an index on a large table takes its time.
function onePool(connectionString: string): { pool: pg.Pool } & AsyncDisposable {
  const pool = new pg.Pool({ connectionString, max: 1, connectionTimeoutMillis: 10_000, statement_timeout: 0 })
  // Its next query fails with the reason.
  pool.on('error', () => {})
  pool.on('connect', (client) => client.on('error', () => {}))
  return { pool, [Symbol.asyncDispose]: () => pool.end() }
}
