import { randomUUID } from 'node:crypto'
import pg from 'pg'
import type { TestProject } from 'vitest/node'
import { applyMigrations } from '../../src/platform/database/apply-migrations.ts'
import { createLogger } from '../../src/platform/logger.ts'
import { findPostgres, startPostgresServer } from './postgres-server.ts'
import { findRedis, startRedisServer } from './redis-server.ts'

/** A PostgreSQL with a migrated, empty template database, and a Redis, for a whole run. */
export type TestServers = { adminUrl: string; templateDatabase: string; redisUrl: string }

declare module 'vitest' {
  export interface ProvidedContext {
    /** Set when the run is against servers; see vitest.servers.config.ts. */
    testServers: TestServers
  }
}

/** Vitest's global set-up of a run against servers. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const [postgresPrograms, redisProgram] = [findPostgres(), findRedis()]
  if (postgresPrograms === null || redisProgram === null) throw new Error('there is no PostgreSQL or no Redis')
  const postgres = await startPostgresServer(postgresPrograms)
  const redis = await startRedisServer(redisProgram)
  const templateUrl = await postgres.createDatabase()
  await applyMigrations({ kind: 'postgresql', connectionString: templateUrl, logger: createLogger({ level: 'warn' }) })
  const templateDatabase = new URL(templateUrl).pathname.slice(1)
  project.provide('testServers', { adminUrl: postgres.url, templateDatabase, redisUrl: redis.url })
  return async () => {
    await redis[Symbol.asyncDispose]()
    await postgres[Symbol.asyncDispose]()
  }
}

/** An empty, migrated database of its own; disposing of it removes it. */
export async function createServerDatabase({
  adminUrl,
  templateDatabase,
}: TestServers): Promise<{ url: string } & AsyncDisposable> {
  const name = `test_${randomUUID().replaceAll('-', '')}`
  await administrate(adminUrl, `CREATE DATABASE ${name} TEMPLATE ${templateDatabase}`)
  const url = new URL(adminUrl)
  url.pathname = `/${name}`
  return {
    url: url.href,
    [Symbol.asyncDispose]: () => administrate(adminUrl, `DROP DATABASE ${name} WITH (FORCE)`),
  }
}

/** A place of its own in the run's Redis. */
export function redisUrlOf({ redisUrl }: TestServers): string {
  const url = new URL(redisUrl)
  url.searchParams.set('prefix', `test-${randomUUID().slice(0, 8)}`)
  return url.href
}

async function administrate(adminUrl: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: adminUrl })
  await client.connect()
  try {
    await client.query(statement)
  } finally {
    await client.end()
  }
}
