import { cp, mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { inject } from 'vitest'
import { systemClock } from '../../src/lib/clock.ts'
import { sleep } from '../../src/lib/sleep.ts'
import { createDatabase } from '../../src/platform/database/create-database.ts'
import type { CreateDatabaseOptions } from '../../src/platform/database/create-database.ts'
import type { Database } from '../../src/platform/database/database.ts'
import { createLogger } from '../../src/platform/logger.ts'
import { createServerDatabase, type TestServers } from './test-servers.ts'

export type DataDirectory = { readonly dataDirectory: string } & AsyncDisposable

export type TestDatabase = Database & DataDirectory

/**
 * An empty, migrated database of its own (1 s): `await using db = await startTestDatabase()`. Embedded, or on a server in a run against
 * servers.
 */
export async function startTestDatabase(options: Partial<CreateDatabaseOptions> = {}): Promise<TestDatabase> {
  const place = await createDatabasePlace()
  const database = await createDatabase(databaseOptions({ ...place.where, ...options }))
  return {
    ...database,
    dataDirectory: place.where.dataDirectory,
    async [Symbol.asyncDispose]() {
      await database.close()
      await place[Symbol.asyncDispose]()
    },
  }
}

/** Where an empty, migrated database is; disposing of it removes it. In a run against servers the data directory is empty. */
export async function createDatabasePlace(): Promise<
  { where: { url: string | null; dataDirectory: string }; servers: TestServers | null } & AsyncDisposable
> {
  // Only a run against servers has them.
  const servers: TestServers | undefined = inject('testServers')
  const directory = servers === undefined ? await copyTemplateDataDirectory() : await makeDataDirectory()
  const onServer = servers === undefined ? null : await createServerDatabase(servers)
  return {
    where: { url: onServer?.url ?? null, dataDirectory: directory.dataDirectory },
    servers: servers ?? null,
    async [Symbol.asyncDispose]() {
      await onServer?.[Symbol.asyncDispose]()
      await directory[Symbol.asyncDispose]()
    },
  }
}

/** A data directory with an empty, migrated database, for `MONK_DATA_DIR`; disposing of it removes it. */
export async function copyTemplateDataDirectory(): Promise<DataDirectory> {
  const empty = await makeDataDirectory()
  await cp(join(inject('templateDataDirectory'), 'pg'), join(empty.dataDirectory, 'pg'), { recursive: true })
  return empty
}

/** An empty data directory; disposing of it removes it. */
export async function makeDataDirectory(): Promise<DataDirectory> {
  const dataDirectory = await mkdtemp(join(inject('scratchFolder'), 'data-'))
  return { dataDirectory, [Symbol.asyncDispose]: () => rm(dataDirectory, { recursive: true, force: true }) }
}

/** What createDatabase needs, as a running program would set it; embedded unless `url` is given. */
export function databaseOptions(
  options: Partial<CreateDatabaseOptions> & { dataDirectory: string },
): CreateDatabaseOptions {
  return {
    url: null,
    poolSize: 5,
    clock: systemClock,
    random: Math.random,
    sleep,
    logger: createLogger({ level: 'error' }),
    onCrash(error) {
      throw error
    },
    ...options,
  }
}
