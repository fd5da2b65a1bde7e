import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { cp, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import type { TestProject } from 'vitest/node'
import { createLogger } from '../../src/platform/logger.ts'
import { applyMigrations } from '../../src/platform/database/apply-migrations.ts'
import { startEmbeddedPostgres } from '../../src/platform/database/embedded-postgres.ts'
import { migrationsFolder, readMigrations } from '../../src/platform/database/migrations.ts'

declare module 'vitest' {
  export interface ProvidedContext {
    /** A data directory with a migrated, empty database, of which every test database is a copy. */
    templateDataDirectory: string
    /** For files of tests; removed after the run. */
    scratchFolder: string
  }
}

/**
 * Vitest's global set-up. Making the template takes 6 s, so it is kept (in node_modules/.cache) until a migration or PGlite
 * changes.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const scratchFolder = await mkdtemp(join(await fastFolder(), 'monk-tests-'))
  try {
    project.provide('scratchFolder', scratchFolder)
    project.provide('templateDataDirectory', await ensureTemplate(scratchFolder))
  } catch (error) {
    await rm(scratchFolder, { recursive: true, force: true })
    throw error
  }
  return () => rm(scratchFolder, { recursive: true, force: true })
}

const modulesFolder = fileURLToPath(new URL('../../node_modules', import.meta.url))
const cacheFolder = join(modulesFolder, '.cache/monk')

// In memory the 500 files of a database are copied in 0.05 s; on a disk it can take 1 s.
async function fastFolder(): Promise<string> {
  const inMemory = '/dev/shm'
  if (!existsSync(inMemory)) return tmpdir()
  const { bavail, bsize } = await statfs(inMemory)
  return bavail * bsize > 2 * 1024 ** 3 ? inMemory : tmpdir()
}

async function ensureTemplate(scratchFolder: string): Promise<string> {
  const template = join(cacheFolder, `template-${await fingerprint()}`)
  if (existsSync(template)) return template
  await removeOutdated()
  const unfinished = join(scratchFolder, 'template')
  await fill(unfinished)
  // It gets its name when it is whole; whoever is second (two runs at once) throws his own away.
  const whole = await mkdtemp(join(cacheFolder, 'unfinished-'))
  try {
    await cp(join(unfinished, 'pg'), join(whole, 'pg'), { recursive: true })
    await rename(whole, template)
  } catch (error) {
    if (!existsSync(template)) throw error
  } finally {
    await rm(whole, { recursive: true, force: true })
    await rm(unfinished, { recursive: true, force: true })
  }
  return template
}

async function fill(dataDirectory: string): Promise<void> {
  const failOnCrash = (error: Error): void => {
    throw error
  }
  const postgres = await startEmbeddedPostgres({ dataDirectory, idleInTransactionMs: 60_000, onCrash: failOnCrash })
  try {
    const { connectionString } = postgres
    await applyMigrations({ kind: 'embedded', connectionString, logger: createLogger({ level: 'warn' }) })
    await removeTemplates(connectionString)
  } finally {
    await postgres.close()
  }
}

// Postgres' own template databases are two thirds of the files, and nobody makes a database here.
async function removeTemplates(connectionString: string): Promise<void> {
  const client = new pg.Client({ connectionString })
  await client.connect()
  try {
    await client.query('UPDATE pg_database SET datistemplate = false')
    await client.query('DROP DATABASE template0')
    await client.query('DROP DATABASE template1')
    await client.query('CHECKPOINT')
  } finally {
    await client.end()
  }
}

async function fingerprint(): Promise<string> {
  const hash = createHash('sha256')
  for (const { name, checksum } of await readMigrations(migrationsFolder)) hash.update(`${name}:${checksum}\n`)
  hash.update(await readFile(join(modulesFolder, '@electric-sql/pglite/package.json')))
  hash.update(await readFile(fileURLToPath(import.meta.url)))
  return hash.digest('hex').slice(0, 16)
}

/** A template that is younger may be another working tree's, which shares the modules and is on another migration. */
const outdatedAfterMs = 24 * 60 * 60 * 1_000

async function removeOutdated(): Promise<void> {
  await mkdir(cacheFolder, { recursive: true })
  for (const name of await readdir(cacheFolder)) {
    const path = join(cacheFolder, name)
    const isOutdated = name.startsWith('template-') && (await ageMs(path)) > outdatedAfterMs
    if (isOutdated) await rm(path, { recursive: true, force: true })
  }
}

async function ageMs(path: string): Promise<number> {
  const { mtimeMs } = await stat(path)
  return Date.now() - mtimeMs
}
