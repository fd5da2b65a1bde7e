import { z } from 'zod'
import { limitVariables, toLimits, type Limits } from './config-limits.ts'
import {
  integer,
  httpUrl,
  providerList,
  aliasList,
  modelSettings,
  modelList,
  originList,
  proxyList,
  onOrOff,
  roleList,
  roles,
  redisUrl,
  databaseUrl,
  type ProviderConfig,
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
  ai: {
    providers: readonly (ProviderConfig & { timeouts?: AiTimeouts; rateLimit?: RateLimit })[]
    defaultModels: readonly string[]
    aliases: Readonly<Record<string, string>>
    /** What was set; each model's kind has its own defaults. */
    timeouts: AiTimeouts
    /** By "provider/model". */
    modelTimeouts: Readonly<Record<string, AiTimeouts>>
    modelRateLimits: Readonly<Record<string, RateLimit>>
    /** Of every workspace. */
    workspaceRateLimit: RateLimit
  }
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

type AiTimeouts = { connectMs?: number; firstTokenMs?: number; idleMs?: number; totalMs?: number }
/** Null: no limit. */
type RateLimit = { requestsPerMinute: number | null; tokensPerMinute: number | null }

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
  OPENAI_API_KEY: z.string().optional().describe('makes the provider named openai'),
  OPENAI_BASE_URL: httpUrl.optional().describe('another OpenAI-compatible endpoint for the provider named openai'),
  AI_PROVIDERS: providerList.default([]).describe('more providers: JSON array of {"name","baseUrl","apiKey"}'),
  AI_DEFAULT_MODELS: modelList
    .optional()
    .describe(
      'models of agents that name none (comma-separated provider/model); default: openai/gpt-5-mini with an OpenAI key, else demo/demo',
    ),
  AI_MODEL_ALIASES: aliasList.default({}).describe('names for pinned versions: fast=openai/gpt-5-mini-2025-08-07,…'),
  AI_CONNECT_TIMEOUT_MS: integer(1, 600_000)
    .optional()
    .describe('until a model endpoint accepts the connection; default 5 000'),
  AI_FIRST_TOKEN_TIMEOUT_MS: integer(1, 600_000)
    .optional()
    .describe('until the first piece of an answer; default 10 000, for models that reason first 120 000'),
  AI_IDLE_TIMEOUT_MS: integer(1, 600_000)
    .optional()
    .describe('between two pieces of an answer; default 10 000, for models that reason first 30 000'),
  AI_TOTAL_TIMEOUT_MS: integer(1, 3_600_000)
    .optional()
    .describe('for a whole call, all retries and models included; default 600 000'),
  AI_CACHE_TTL_SECONDS: integer(0, 2_592_000)
    .default(3_600)
    .describe('how long answers at temperature 0 are kept for the same request; 0: only where a call asks for it'),
  COMPLETION_RETENTION_DAYS: integer(1, 3_650)
    .default(30)
    .describe('how long completions are kept after their end; a key is new again afterwards'),
  AI_MODEL_SETTINGS: modelSettings
    .default({})
    .describe(
      'time-outs and limits of a provider’s key or of a model: {"openai": {"requestsPerMinute": 500, "tokensPerMinute": 200000}, "openai/o3": {"firstTokenMs": 300000}}; also connectMs, idleMs, totalMs',
    ),
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
  LIMIT_WORKSPACE_MODEL_REQUESTS_PER_MINUTE: integer(1, 1_000_000)
    .optional()
    .describe('calls of models for each workspace; absent: no limit'),
  LIMIT_WORKSPACE_MODEL_TOKENS_PER_MINUTE: integer(1, 1_000_000_000)
    .optional()
    .describe('tokens of input and output for each workspace; absent: no limit'),
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
  if (env.OPENAI_BASE_URL !== undefined && env.OPENAI_API_KEY === undefined) {
    problems.push(
      'OPENAI_API_KEY is required together with OPENAI_BASE_URL; any text will do for a server that needs none',
    )
  }
  if (env.MONK_ROLES.length < roles.length && (env.DATABASE_URL === undefined || env.REDIS_URL === undefined)) {
    problems.push('MONK_ROLES must be api,worker unless DATABASE_URL and REDIS_URL are set: this process is alone')
  }
  const names = providersOf(env).map((provider) => provider.name)
  const twice = names.find((name, index) => names.indexOf(name) !== index)
  if (twice !== undefined)
    problems.push(`AI_PROVIDERS names the provider "${twice}" twice; openai is taken when OPENAI_API_KEY is set`)
  if (names.includes('demo')) problems.push('AI_PROVIDERS must not name a provider "demo": that is the built-in one')
  return [...problems, ...modelProblems(env, new Set([...names, 'demo']))]
}

function modelProblems(env: Environment, providers: ReadonlySet<string>): string[] {
  const known = [...providers].toSorted().join(', ')
  const unknown = (model: string): boolean => !providers.has(model.split('/')[0] ?? '')
  const aliases = Object.values(env.AI_MODEL_ALIASES).some(unknown)
    ? [`AI_MODEL_ALIASES names an unknown provider; known are ${known}`]
    : []
  const defaults = (env.AI_DEFAULT_MODELS ?? []).some(
    (model) => !Object.hasOwn(env.AI_MODEL_ALIASES, model) && unknown(model),
  )
    ? [`AI_DEFAULT_MODELS names an unknown provider or alias; known providers are ${known}`]
    : []
  const settings = Object.keys(env.AI_MODEL_SETTINGS).some(unknown)
    ? [`AI_MODEL_SETTINGS names an unknown provider; known are ${known}`]
    : []
  return [...aliases, ...defaults, ...settings]
}

function providersOf(env: Environment): ProviderConfig[] {
  const openai =
    env.OPENAI_API_KEY === undefined
      ? []
      : [{ name: 'openai', baseUrl: env.OPENAI_BASE_URL ?? null, apiKey: env.OPENAI_API_KEY }]
  return [...openai, ...env.AI_PROVIDERS]
}

/** Only what is set: what is absent is the default of a model's kind, which undefined is not. */
function timeoutsOf(given: { [Name in keyof AiTimeouts]?: number | undefined }): AiTimeouts {
  const { connectMs, firstTokenMs, idleMs, totalMs } = given
  return {
    ...(connectMs !== undefined && { connectMs }),
    ...(firstTokenMs !== undefined && { firstTokenMs }),
    ...(idleMs !== undefined && { idleMs }),
    ...(totalMs !== undefined && { totalMs }),
  }
}

/** What AI_MODEL_SETTINGS says of one provider or model, as the AI client takes it. */
function settingOf(env: Environment, name: string): { timeouts?: AiTimeouts; rateLimit?: RateLimit } {
  const { requestsPerMinute = null, tokensPerMinute = null, ...given } = env.AI_MODEL_SETTINGS[name] ?? {}
  const timeouts = timeoutsOf(given)
  return {
    ...(Object.keys(timeouts).length > 0 && { timeouts }),
    ...((requestsPerMinute !== null || tokensPerMinute !== null) && {
      rateLimit: { requestsPerMinute, tokensPerMinute },
    }),
  }
}

function modelSettingsOf(env: Environment) {
  const settings = Object.keys(env.AI_MODEL_SETTINGS)
    .filter((name) => name.includes('/'))
    .map((name) => Object.assign({ name }, settingOf(env, name)))
  const pairs = <Value>(pick: (setting: (typeof settings)[number]) => Value | undefined): [string, Value][] =>
    settings.flatMap((setting) => {
      const value = pick(setting)
      return value === undefined ? [] : [[setting.name, value]]
    })
  return {
    modelTimeouts: Object.fromEntries(pairs(({ timeouts }) => timeouts)),
    modelRateLimits: Object.fromEntries(pairs(({ rateLimit }) => rateLimit)),
  }
}

function toConfig(env: Environment): Config {
  const fallbackModel = env.OPENAI_API_KEY === undefined ? 'demo/demo' : 'openai/gpt-5-mini'
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
    ai: {
      providers: providersOf(env).map((provider) => Object.assign({}, provider, settingOf(env, provider.name))),
      ...modelSettingsOf(env),
      workspaceRateLimit: {
        requestsPerMinute: env.LIMIT_WORKSPACE_MODEL_REQUESTS_PER_MINUTE ?? null,
        tokensPerMinute: env.LIMIT_WORKSPACE_MODEL_TOKENS_PER_MINUTE ?? null,
      },
      defaultModels: env.AI_DEFAULT_MODELS ?? [fallbackModel],
      aliases: env.AI_MODEL_ALIASES,
      timeouts: timeoutsOf({
        connectMs: env.AI_CONNECT_TIMEOUT_MS,
        firstTokenMs: env.AI_FIRST_TOKEN_TIMEOUT_MS,
        idleMs: env.AI_IDLE_TIMEOUT_MS,
        totalMs: env.AI_TOTAL_TIMEOUT_MS,
      }),
    },
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
