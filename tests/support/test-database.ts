import { inject } from 'vitest'
import { systemClock } from '../../src/lib/clock.ts'
import { sleep } from '../../src/lib/sleep.ts'
import { createDatabase } from '../../src/platform/database/create-database.ts'
import type { CreateDatabaseOptions } from '../../src/platform/database/create-database.ts'
import type { Database } from '../../src/platform/database/database.ts'
import { createLogger } from '../../src/platform/logger.ts'
import { makeDataDirectory, type DataDirectory } from './data-directory.ts'
import { createServerDatabase, type TestServers } from './test-servers.ts'
import { startWarmPostgres } from './warm-postgres.ts'

export type TestDatabase = Database & DataDirectory

/**
 * An empty, migrated database of its own: `await using db = await startTestDatabase()`. Embedded, or on a server in a run against servers.
 */
export async function startTestDatabase(options: Partial<CreateDatabaseOptions> = {}): Promise<TestDatabase> {
  const place = await createDatabasePlace()
  const database = await createDatabase(
    databaseOptions({ ...place.where, startEmbedded: startWarmPostgres, ...options }),
  )
  return {
    ...database,
    dataDirectory: place.where.dataDirectory,
    async [Symbol.asyncDispose]() {
      await database.close()
      await place[Symbol.asyncDispose]()
    },
  }
}

/** Where an empty, migrated database is, or the embedded one will be; disposing of it removes it. The data directory is empty. */
export async function createDatabasePlace(): Promise<
  { where: { url: string | null; dataDirectory: string }; servers: TestServers | null } & AsyncDisposable
> {
  // Only a run against servers has them.
  const servers: TestServers | undefined = inject('testServers')
  const directory = await makeDataDirectory()
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
