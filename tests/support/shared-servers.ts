import { inject } from 'vitest'
import { copyTemplateDataDirectory } from './data-directory.ts'
import { createDatabasePlace } from './test-database.ts'
import { redisUrlOf } from './test-servers.ts'

/** Whether this run is against servers, which several apps can share. */
export const hasServers = inject('testServers') !== undefined

/** A database and a place in Redis for several apps of one test: `startTestApp({ env: shared.env })`. Only in a run against servers. */
export async function createSharedServers(): Promise<{ env: Record<string, string> } & AsyncDisposable> {
  const place = await createDatabasePlace()
  if (place.servers === null || place.where.url === null) throw new Error('this run has no servers')
  return {
    env: {
      DATABASE_URL: place.where.url,
      REDIS_URL: redisUrlOf(place.servers),
      MONK_SECRET: 'a secret of at least 32 characters',
    },
    [Symbol.asyncDispose]: () => place[Symbol.asyncDispose](),
  }
}

/** Where apps of one test find what those before them have left: `startTestApp({ env: place.env })`, one at a time unless it is on servers. */
export async function createPlace(): Promise<{ env: Record<string, string> } & AsyncDisposable> {
  if (hasServers) return createSharedServers()
  const { dataDirectory, ...directory } = await copyTemplateDataDirectory()
  return { env: { MONK_DATA_DIR: dataDirectory }, ...directory }
}
