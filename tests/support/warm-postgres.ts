import { existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import pg from 'pg'
import { createCleanup } from '../../src/lib/cleanup.ts'
import { defaultTimeouts } from '../../src/platform/database/connection-pool.ts'
import { lockDataDirectory } from '../../src/platform/database/data-directory-lock.ts'
import {
  startEmbeddedPostgres,
  type EmbeddedPostgres,
  type EmbeddedPostgresOptions,
} from '../../src/platform/database/embedded-postgres.ts'
import { copyTemplateDataDirectory } from './data-directory.ts'

/**
 * The embedded Postgres of tests: a running one with an empty, migrated database, lent from those that this worker keeps, and emptied when it
 * is closed (5 ms; a new one takes 2.5 s of the processor until it is compiled and its database copied). The data directory is locked and the
 * socket announced as ever.
 *
 * A data directory that has a database already, and other limits than a server's, get a Postgres of their own.
 */
export async function startWarmPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const { dataDirectory, idleInTransactionMs } = options
  const isCommon = idleInTransactionMs === defaultTimeouts.idleInTransactionMs
  if (!isCommon || existsSync(join(dataDirectory, 'pg'))) return startEmbeddedPostgres(options)

  const cleanup = createCleanup()
  try {
    await mkdir(dataDirectory, { recursive: true, mode: 0o700 })
    const lock = await lockDataDirectory(dataDirectory)
    cleanup.add('the lock of the data directory', async () => lock[Symbol.asyncDispose]())
    const engine = idle.pop() ?? (await startEngine())
    engine.onCrash = options.onCrash
    cleanup.add('the warm Postgres', () => takeBack(engine))
    return {
      connectionString: engine.connectionString,
      announce: () => lock.announce(engine.socketFolder),
      close: () => cleanup.run(),
    }
  } catch (error) {
    await cleanup.run()
    throw error
  }
}

type Engine = {
  connectionString: string
  socketFolder: string
  /** Of whoever has it. */
  onCrash: (error: Error) => void
  /** Of its catalogue, when it was new. */
  catalogue: string
  close(): Promise<void>
}

const idle: Engine[] = []

// Each takes 300 MB; hardly a test has more than two at a time.
const maxIdle = 2

async function startEngine(): Promise<Engine> {
  const directory = await copyTemplateDataDirectory()
  const postgres = await startEmbeddedPostgres({
    dataDirectory: directory.dataDirectory,
    idleInTransactionMs: defaultTimeouts.idleInTransactionMs,
    onCrash: (error) => engine.onCrash(error),
  })
  const { connectionString } = postgres
  const engine: Engine = {
    connectionString,
    socketFolder: new URL(connectionString).searchParams.get('host') ?? '',
    onCrash: failOnCrash,
    catalogue: await connected(connectionString, readCatalogue),
    async close() {
      await postgres.close()
      await directory[Symbol.asyncDispose]()
    },
  }
  return engine
}

async function takeBack(engine: Engine): Promise<void> {
  const isAsNew = await connected(engine.connectionString, (client) => empty(client, engine.catalogue))
  engine.onCrash = failOnCrash
  if (isAsNew && idle.length < maxIdle) idle.push(engine)
  else await engine.close()
}

function failOnCrash(error: Error): void {
  throw error
}

/** False when something beside rows has changed (a table, a function, statistics), which nobody undoes. */
async function empty(client: pg.Client, catalogue: string): Promise<boolean> {
  if ((await readCatalogue(client)) !== catalogue) return false
  const { rows } = await client.query<{ name: string; is_small: boolean }>(filledTables)
  const removals = rows.map(({ name, is_small: isSmall }) =>
    isSmall ? `DELETE FROM ${name}` : `TRUNCATE ${name} CASCADE`,
  )
  // As a replica, so that no trigger refuses or checks anything.
  const statements = ['SET session_replication_role = replica', ...removals, ...forgetSession]
  await client.query(statements.join(';'))
  return true
}

// DISCARD ALL, but for the plans: with those, every test would plan everything anew.
const forgetSession = [
  'SET SESSION AUTHORIZATION DEFAULT',
  'RESET ALL',
  'UNLISTEN *',
  'SELECT pg_advisory_unlock_all()',
]

// A table is truncated in 20 ms, its indexes included, and the plans of all that use it are lost.
const filledTables = `
  SELECT oid::regclass AS name, pg_relation_size(oid) < 256 * 1024 AS is_small FROM pg_class
  WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> '_prisma_migrations' AND pg_relation_size(oid) > 0`

// A row that was changed has a new xmin. Not pg_class as a whole: it has the places of the files, which TRUNCATE changes.
const catalogueParts = [
  ...['pg_proc', 'pg_trigger', 'pg_constraint', 'pg_index', 'pg_db_role_setting', 'pg_authid', 'pg_namespace'].map(
    (table) => `SELECT count(*) AS count, sum(xmin::text::int8) AS sum FROM ${table}`,
  ),
  'SELECT count(*), sum(xmin::text::int8) FROM pg_attribute WHERE attrelid >= 16384',
  `SELECT count(*), sum(oid::int8) FROM pg_class WHERE relkind <> 't'`,
  // What ANALYZE has found out.
  'SELECT count(*), 0 FROM pg_statistic WHERE starelid >= 16384',
  'SELECT count(*), 0 FROM pg_class WHERE oid >= 16384 AND reltuples > 0',
]
const catalogueQuery = `SELECT string_agg(count || ':' || sum, ' ') AS print FROM (${catalogueParts.join(' UNION ALL ')}) parts`

/** Changes with everything beside rows: tables, functions, settings of the database, statistics. */
export async function readCatalogue(client: pg.Client): Promise<string> {
  const { rows } = await client.query<{ print: string }>(catalogueQuery)
  return rows[0]?.print ?? ''
}

async function connected<T>(connectionString: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString })
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.end()
  }
}
