import { z } from 'zod'
import { aiLimitVariables, aiProblems, aiVariables, toAi, type AiConfig } from './config-ai.ts'
import { limitVariables, toLimits, type Limits } from './config-limits.ts'
import {
  integer,
  originList,
  proxyList,
  onOrOff,
  roleList,
  roles,
  redisUrl,
  databaseUrl,
  type Role,
} from './config-values.ts'

/**
 * The configuration: environment variables, parsed once, all problems reported at once. The schema below is the documentation; a
 * test holds the README's table to it. An empty variable counts as absent.
 */
export type Config = {
  environment: 'development' | 'test' | 'production'
  host: string
  port: number
  publicOrigins: readonly string[]
  trustedProxies: readonly string[]
  graphiql: boolean
  /** Whether the schema may be asked for. */
  introspection: boolean
  /** A file or folder; null: any document is executed. */
  persistedDocuments: string | null
  database: { /** Null: embedded. */ url: string | null; poolSize: number }
  /** Null: events, hints, circuit breakers and rate limits stay in this process. */
  redisUrl: string | null
  dataDir: string
  roles: readonly Role[]
  /** Null: generated once into the data directory. */
  secret: string | null
  bootstrapToken: string | null
  bcryptCost: number
  ai: AiConfig
  /** How long answers at temperature 0 are kept; 0: not at all. */
  answerCacheTtlMs: number
  completionsKeptDays: number
  workerConcurrency: number
  /** Null: a share of what there is. */
  workerMemoryLimitMb: number | null
  leaseMs: number
  shutdownGraceMs: number
  limits: Limits
  logLevel: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent'
}

/** The environment is not usable. `problems` has one line for each wrong variable and never a value of one. */
export class ConfigError extends Error {
  readonly problems: readonly string[]

  constructor(problems: readonly string[]) {
    super(`The configuration is wrong:\n${problems.map((problem) => `  - ${problem}`).join('\n')}`)
    this.name = 'ConfigError'
    this.problems = problems
  }
}

/** Every variable, in the README's order. */
export const environmentSchema = z.object({
  NODE_ENV: z
    .enum(['development', 'test', 'production'], 'must be development, test or production')
    .default('development')
    .describe('the environment; it chooses the defaults that differ'),
  HOST: z.string().default('127.0.0.1').describe('the address to listen on'),
  PORT: integer(0, 65_535).default(4000).describe('the port to listen on; 0 takes a free one'),
  PUBLIC_ORIGINS: originList.default([]).describe('origins of web pages that may call the API (comma-separated)'),
  TRUSTED_PROXIES: proxyList
    .default([])
    .describe(
      'whose X-Forwarded-For and -Proto are believed: addresses, CIDR ranges, loopback, linklocal, uniquelocal',
    ),
  GRAPHIQL: onOrOff
    .optional()
    .describe('whether browsers get GraphiQL at /graphql: on or off; default: off in production'),
  GRAPHQL_INTROSPECTION: onOrOff
    .optional()
    .describe('whether the schema may be asked for: on or off; default: off in production'),
  PERSISTED_DOCUMENTS: z
    .string()
    .optional()
    .describe('executes no other documents than these: a folder of .graphql files, or a JSON file of documents'),
  DATABASE_URL: databaseUrl.optional().describe('a PostgreSQL 15 or newer; absent: Postgres inside this program'),
  DATABASE_POOL_SIZE: integer(1, 200)
    .default(10)
    .describe('connections to PostgreSQL; embedded there is always exactly one'),
  REDIS_URL: redisUrl
    .optional()
    .describe(
      'shares events, hints, circuit breakers and rate limits between processes: redis://…, rediss://…, redis+sentinel://…, redis+cluster://…; absent: one process',
    ),
  MONK_DATA_DIR: z.string().default('.monk').describe('where the embedded database and the generated secret live'),
  MONK_ROLES: roleList
    .default(['api', 'worker'])
    .describe('what this process does: api, worker or both; one alone needs DATABASE_URL and REDIS_URL'),
  MONK_SECRET: z
    .string()
    .min(32, 'must have at least 32 characters')
    .optional()
    .describe('encrypts the key rows; required in production, elsewhere generated once into the data directory'),
  MONK_BOOTSTRAP_TOKEN: z
    .string()
    .min(16, 'must have at least 16 characters')
    .optional()
    .describe('production: what the first account must present to become ADMIN'),
  BCRYPT_COST: integer(4, 15).default(12).describe('the cost of password hashes; production: at least 12'),
  ...aiVariables,
  WORKER_CONCURRENCY: integer(1, 10_000).default(50).describe('tasks that this process runs at once'),
  WORKER_MEMORY_LIMIT_MB: integer(64, 16_777_216)
    .optional()
    .describe(
      'a process that holds more memory takes no tasks until it is below 90 % of this; default: 80 % of the machine’s or container’s',
    ),
  LEASE_MS: integer(1_000, 600_000)
    .default(12_000)
    .describe('how long a silent worker keeps its tasks; heartbeats come three times as often, and every 4 s at least'),
  SHUTDOWN_GRACE_MS: integer(0, 3_600_000)
    .default(30_000)
    .describe('how long running tasks may go on after SIGTERM before they are given back'),
  ...limitVariables,
  ...aiLimitVariables,
  LOG_LEVEL: z
    .enum(
      ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
      'must be trace, debug, info, warn, error, fatal or silent',
    )
    .default('info')
    .describe('what is logged, as JSON lines on standard output'),
})

type Environment = z.output<typeof environmentSchema>

/**
 * Reads the configuration out of environment variables.
 *
 * @throws ConfigError with all problems; no message contains a value.
 */
export function parseConfig(env: Readonly<Record<string, string | undefined>>): Config {
  const present = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined && value !== ''))
  const parsed = environmentSchema.safeParse(present)
  const problems = parsed.success ? crossProblems(parsed.data) : fieldProblems(parsed.error)
  if (!parsed.success || problems.length > 0) throw new ConfigError([...new Set(problems)])
  return toConfig(parsed.data)
}

function fieldProblems(error: z.ZodError): string[] {
  return error.issues.map((issue) => `${issue.path.join('.')} ${issue.message}`)
}

function crossProblems(env: Environment): string[] {
  const problems: string[] = []
  const production = env.NODE_ENV === 'production'
  if (production && env.MONK_SECRET === undefined) {
    problems.push('MONK_SECRET is required in production: at least 32 random characters, the same on every process')
  }
  if (production && env.BCRYPT_COST < 12) problems.push('BCRYPT_COST must be at least 12 in production')
  if (env.DATABASE_URL !== undefined && env.MONK_SECRET === undefined) {
    problems.push('MONK_SECRET is required together with DATABASE_URL: the database outlives this data directory')
  }
  if (env.MONK_ROLES.length < roles.length && (env.DATABASE_URL === undefined || env.REDIS_URL === undefined)) {
    problems.push('MONK_ROLES must be api,worker unless DATABASE_URL and REDIS_URL are set: this process is alone')
  }
  return [...problems, ...aiProblems(env)]
}

function toConfig(env: Environment): Config {
  return {
    environment: env.NODE_ENV,
    host: env.HOST,
    port: env.PORT,
    publicOrigins: env.PUBLIC_ORIGINS,
    trustedProxies: env.TRUSTED_PROXIES,
    graphiql: env.GRAPHIQL ?? env.NODE_ENV !== 'production',
    introspection: env.GRAPHQL_INTROSPECTION ?? env.NODE_ENV !== 'production',
    persistedDocuments: env.PERSISTED_DOCUMENTS ?? null,
    database: { url: env.DATABASE_URL ?? null, poolSize: env.DATABASE_POOL_SIZE },
    redisUrl: env.REDIS_URL ?? null,
    dataDir: env.MONK_DATA_DIR,
    roles: env.MONK_ROLES,
    secret: env.MONK_SECRET ?? null,
    bootstrapToken: env.MONK_BOOTSTRAP_TOKEN ?? null,
    bcryptCost: env.BCRYPT_COST,
    ai: toAi(env),
    answerCacheTtlMs: env.AI_CACHE_TTL_SECONDS * 1_000,
    completionsKeptDays: env.COMPLETION_RETENTION_DAYS,
    workerConcurrency: env.WORKER_CONCURRENCY,
    workerMemoryLimitMb: env.WORKER_MEMORY_LIMIT_MB ?? null,
    leaseMs: env.LEASE_MS,
    shutdownGraceMs: env.SHUTDOWN_GRACE_MS,
    limits: toLimits(env),
    logLevel: env.LOG_LEVEL,
  }
}
