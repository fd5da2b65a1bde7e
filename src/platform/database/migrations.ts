import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { MigrationList } from '@prisma/schema-engine-wasm'
import type pg from 'pg'

/** `prisma/migrations`: the same from the sources and from `dist`, which lie equally deep. */
export const migrationsFolder = fileURLToPath(new URL('../../../prisma/migrations', import.meta.url))

export type Migration = {
  /** Of its folder: `20261123000000_init`. They are applied in the order of their names. */
  name: string
  sql: string
  /** As Prisma writes it into `_prisma_migrations`: SHA-256 of the file, in hex. */
  checksum: string
}

export async function readMigrations(folder: string): Promise<Migration[]> {
  const entries = await readdir(folder, { withFileTypes: true })
  const names = entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name)
  return Promise.all(
    names.toSorted().map(async (name) => {
      const sql = await readFile(join(folder, name, 'migration.sql'), 'utf8')
      return { name, sql, checksum: createHash('sha256').update(sql).digest('hex') }
    }),
  )
}

/** How a database stands to the migrations that this program knows. */
export type MigrationStatus = {
  pending: string[]
  /** Changed after they were applied. */
  edited: string[]
  /** Begun and not finished: an error, or a process that was killed. */
  failed: { name: string; startedAt: Date; log: string | null }[]
  /** Applied by a newer version of this program. */
  unknown: string[]
}

/** Two small queries; the engine's own diagnosis would load 2 MB of WebAssembly first. */
export async function readMigrationStatus(pool: pg.Pool, migrations: readonly Migration[]): Promise<MigrationStatus> {
  const rows = await readRows(pool)
  const live = rows.filter((row) => row.rolled_back_at === null)
  const finished = new Map(live.filter((row) => row.finished_at !== null).map((row) => [row.migration_name, row]))
  const known = new Set(migrations.map(({ name }) => name))
  return {
    pending: migrations.filter(({ name }) => !finished.has(name)).map(({ name }) => name),
    edited: migrations
      .filter(({ name, checksum }) => finished.has(name) && finished.get(name)?.checksum !== checksum)
      .map(({ name }) => name),
    failed: live
      .filter((row) => row.finished_at === null)
      .map((row) => ({ name: row.migration_name, startedAt: row.started_at, log: row.logs })),
    unknown: [...finished.keys()].filter((name) => !known.has(name)),
  }
}

/** The form in which the engine wants them. */
export function toMigrationList(folder: string, migrations: readonly Migration[]): MigrationList {
  return {
    baseDir: folder,
    lockfile: { path: 'migration_lock.toml', content: 'provider = "postgresql"\n' },
    shadowDbInitScript: '',
    migrationDirectories: migrations.map(({ name, sql }) => ({
      path: name,
      migrationFile: { path: 'migration.sql', content: { tag: 'ok', value: sql } },
    })),
  }
}

type MigrationRow = {
  migration_name: string
  checksum: string
  started_at: Date
  finished_at: Date | null
  rolled_back_at: Date | null
  logs: string | null
}

async function readRows(pool: pg.Pool): Promise<MigrationRow[]> {
  const table = await pool.query<{ name: string | null }>(`SELECT to_regclass('_prisma_migrations')::text AS name`)
  if (table.rows[0]?.name == null) return []
  const result = await pool.query<MigrationRow>(
    `SELECT migration_name, checksum, started_at, finished_at, rolled_back_at, logs
       FROM _prisma_migrations ORDER BY started_at, migration_name`,
  )
  return result.rows
}
