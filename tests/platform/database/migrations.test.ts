import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { applyMigrations, MigrationError, resolveMigration } from '../../../src/platform/database/apply-migrations.ts'
import type { ApplyMigrationsOptions } from '../../../src/platform/database/apply-migrations.ts'
import { migrationsFolder, readMigrations } from '../../../src/platform/database/migrations.ts'
import { createLogger } from '../../../src/platform/logger.ts'
import { findPostgres, startPostgresServer } from '../../support/postgres-server.ts'
import type { PostgresServer } from '../../support/postgres-server.ts'
import { startTestDatabase } from '../../support/test-database.ts'

const programs = findPostgres()
const logger = createLogger({ level: 'silent' })

describe.skipIf(programs === null)('on PostgreSQL', () => {
  let server: PostgresServer
  beforeAll(async () => void (server = await startPostgresServer(programs ?? '')))
  afterAll(() => server[Symbol.asyncDispose]())

  async function prepare(folder?: string): Promise<ApplyMigrationsOptions> {
    return { kind: 'postgresql', connectionString: await server.createDatabase(), logger, folder }
  }

  test('applies all of them once, however many processes start at once', async () => {
    const options = await prepare()
    const names = (await readMigrations(migrationsFolder)).map(({ name }) => name)
    const applied = await Promise.all([1, 2, 3, 4].map(() => applyMigrations(options)))
    expect(applied.filter((each) => each.length > 0)).toEqual([names])
    expect(await applyMigrations(options)).toEqual([])
    const rows = await select(options, 'SELECT migration_name, finished_at IS NOT NULL AS done FROM _prisma_migrations')
    expect(rows).toEqual(names.map((name) => ({ migration_name: name, done: true })))
  })

  test('leaves nothing of one that fails, says why, and goes on when it was resolved', async () => {
    await using folder = await copyMigrations()
    await folder.add('20990101000000_broken', 'CREATE TABLE half (a int); CREATE TABLE half (a int);')
    const options = await prepare(folder.path)
    const failure = await applyMigrations(options).catch((error: unknown) => error)
    expect(failure).toBeInstanceOf(MigrationError)
    expect(String(failure)).toContain('20990101000000_broken')
    expect(String(failure)).toContain('relation "half" already exists')
    expect(await select(options, `SELECT to_regclass('half') AS half`)).toEqual([{ half: null }])

    const again = await applyMigrations(options).catch((error: unknown) => error)
    expect(String(again)).toContain('monk migrate resolve 20990101000000_broken rolled-back')

    await folder.add('20990101000000_broken', 'CREATE TABLE half (a int);')
    await resolveMigration(options, { name: '20990101000000_broken', as: 'rolled-back' })
    expect(await applyMigrations(options)).toEqual(['20990101000000_broken'])
  })

  test('refuses one that was edited after it had been applied', async () => {
    await using folder = await copyMigrations()
    await folder.add('20990101000000_later', 'CREATE TABLE later (a int);')
    const options = await prepare(folder.path)
    await applyMigrations(options)
    await folder.add('20990101000000_later', 'CREATE TABLE later (a bigint);')
    await expect(applyMigrations(options)).rejects.toThrow('Edited after they had been applied: 20990101000000_later')
  })

  test('starts on a database that a newer version has migrated', async () => {
    await using folder = await copyMigrations()
    await folder.add('20990101000000_newer', 'CREATE TABLE newer (a int);')
    const options = await prepare(folder.path)
    await applyMigrations(options)
    expect(await applyMigrations({ ...options, folder: undefined })).toEqual([])
  })
})

test('an embedded database has them all', async () => {
  await using db = await startTestDatabase()
  const rows = await db.query(
    { name: 'all', text: 'SELECT migration_name, checksum FROM _prisma_migrations ORDER BY 1' },
    [],
  )
  const migrations = await readMigrations(migrationsFolder)
  expect(rows).toEqual(migrations.map(({ name, checksum }) => ({ migration_name: name, checksum })))
})

async function copyMigrations() {
  const path = await mkdtemp(join(inject('scratchFolder'), 'migrations-'))
  await cp(migrationsFolder, path, { recursive: true })
  return {
    path,
    async add(name: string, sql: string) {
      await mkdir(join(path, name), { recursive: true })
      await writeFile(join(path, name, 'migration.sql'), sql)
    },
    [Symbol.asyncDispose]: () => rm(path, { recursive: true }),
  }
}

async function select({ connectionString }: ApplyMigrationsOptions, sql: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString })
  await client.connect()
  try {
    return (await client.query(sql)).rows
  } finally {
    await client.end()
  }
}
