import { parseConfig, type Config } from '../config.ts'
import { openAccessChanges, type AccessChanges } from '../features/accounts/access-changes.ts'
import { createCleanup } from '../lib/cleanup.ts'
import { systemClock } from '../lib/clock.ts'
import { newId } from '../lib/ids.ts'
import { sleep } from '../lib/sleep.ts'
import { applyMigrations } from '../platform/database/apply-migrations.ts'
import { connectDatabase } from '../platform/database/connect-database.ts'
import type { Database } from '../platform/database/database.ts'
import { createInProcessEvents } from '../platform/events/in-process.ts'
import type { Events } from '../platform/events/events.ts'
import { createLogger, type Logger } from '../platform/logger.ts'
import { loadOrCreateSecret } from '../platform/secret-file.ts'
import { openPostgres } from './open-postgres.ts'

/** What commands work on that change accounts or keys. */
export type Installation = {
  config: Config
  db: Database
  /** MONK_SECRET, or what the data directory has. */
  secret: string
  /** Reaches running servers where they can be reached: over Redis. Others notice within 30 s. */
  changes: AccessChanges
  logger: Logger
}

/**
 * Opens the installation that the configuration names, migrated, for as long as `work` takes. Embedded, that is the running server's database
 * when there is one. Throws what opening it throws.
 */
export async function withInstallation<Result>(
  env: NodeJS.ProcessEnv,
  work: (installation: Installation) => Promise<Result>,
): Promise<Result> {
  const config = parseConfig(env)
  const logger = createLogger({ level: 'warn' })
  const cleanup = createCleanup()
  try {
    const secret = config.secret ?? (await loadOrCreateSecret(config.dataDir))
    const postgres = await openPostgres(env)
    cleanup.add('Postgres', () => postgres.close())
    const { kind, connectionString } = postgres
    await applyMigrations({ kind, connectionString, logger })
    const tools = { clock: systemClock, logger, random: Math.random, sleep }
    const db = connectDatabase({ ...tools, kind, connectionString, poolSize: 2 })
    cleanup.add('the database', () => db.close())
    const events = await openEvents(config, logger)
    cleanup.add('events', () => events.close())
    const changes = await openAccessChanges({ events, newId, logger })
    cleanup.add('changes of permissions', () => changes.close())
    return await work({ config, db, secret, changes, logger })
  } finally {
    await cleanup.run()
  }
}

// Loaded only when it is asked for: the clients take most of a second to import.
async function openEvents({ redisUrl }: Config, logger: Logger): Promise<Events> {
  if (redisUrl === null) return createInProcessEvents()
  const [{ openRedis }, { createRedisEvents }] = await Promise.all([
    import('../platform/redis/redis.ts'),
    import('../platform/events/redis.ts'),
  ])
  const redis = await openRedis({ url: redisUrl, clock: systemClock, logger, random: Math.random })
  return createRedisEvents({ redis, logger })
}
