import { describe, expect, test } from 'vitest'
import { ConfigError, parseConfig } from '../src/config.ts'

const secret = 's'.repeat(32)

function problemsOf(env: Record<string, string>): readonly string[] {
  try {
    parseConfig(env)
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
  return []
}

describe('parseConfig', () => {
  test('needs nothing', () => {
    expect(parseConfig({})).toEqual({
      environment: 'development',
      host: '127.0.0.1',
      port: 4000,
      publicOrigins: [],
      trustedProxies: [],
      database: { url: null, poolSize: 10 },
      redisUrl: null,
      dataDir: '.monk',
      roles: ['api', 'worker'],
      secret: null,
      bootstrapToken: null,
      bcryptCost: 12,
      ai: {
        providers: [],
        defaultModels: ['demo/demo'],
        aliases: {},
        timeouts: {},
        modelTimeouts: {},
        modelRateLimits: {},
        workspaceRateLimit: { requestsPerMinute: null, tokensPerMinute: null },
      },
      answerCacheTtlMs: 3_600_000,
      completionsKeptDays: 30,
      workerConcurrency: 50,
      workerMemoryLimitMb: null,
      leaseMs: 12_000,
      shutdownGraceMs: 30_000,
      graphiql: true,
      introspection: true,
      persistedDocuments: null,
      limits: {
        bodyBytes: 1_048_576,
        promptBytes: 262_144,
        depth: 10,
        tokens: 2_000,
        aliases: 15,
        complexity: 5_000,
        executionMs: 10_000,
        requestsPerMinute: 1_200,
        anonymousRequestsPerMinute: 120,
        costPerMinute: 60_000,
        signUpsPerHour: 20,
        logInsPer5Minutes: 30,
        socketsPerUser: 50,
        subscriptionsPerSocket: 50,
        socketMessagesPerSecond: 20,
        socketFrameBytes: 1_048_576,
      },
      logLevel: 'info',
    })
  })

  test('takes an empty variable for an absent one', () => {
    expect(parseConfig({ PORT: '', DATABASE_URL: '' })).toEqual(parseConfig({}))
  })

  test('makes the provider named openai out of its key, and its model the default', () => {
    const { ai } = parseConfig({ OPENAI_API_KEY: 'sk-1', OPENAI_BASE_URL: 'http://127.0.0.1:9/v1' })
    expect(ai.providers).toEqual([{ name: 'openai', baseUrl: 'http://127.0.0.1:9/v1', apiKey: 'sk-1' }])
    expect(ai.defaultModels).toEqual(['openai/gpt-5-mini'])
  })

  test('lets one of several processes have one role', () => {
    const shared = { DATABASE_URL: 'postgresql://localhost/monk', MONK_SECRET: secret, REDIS_URL: 'redis://127.0.0.1' }
    expect(parseConfig({ ...shared, MONK_ROLES: 'worker' }).roles).toEqual(['worker'])
    expect(parseConfig({ ...shared, MONK_ROLES: 'worker,api' }).roles).toEqual(['api', 'worker'])
  })

  test('reads providers, default models and aliases', () => {
    const { ai } = parseConfig({
      AI_PROVIDERS: '[{"name":"local","baseUrl":"http://127.0.0.1:8080/v1","apiKey":"none"}]',
      AI_DEFAULT_MODELS: 'fast, demo/demo',
      AI_MODEL_ALIASES: 'fast=local/llama/3=b',
    })
    expect(ai.providers).toEqual([{ name: 'local', baseUrl: 'http://127.0.0.1:8080/v1', apiKey: 'none' }])
    expect(ai.defaultModels).toEqual(['fast', 'demo/demo'])
    expect(ai.aliases).toEqual({ fast: 'local/llama/3=b' })
  })

  test('reports all problems at once', () => {
    const problems = problemsOf({ PORT: '70000', NODE_ENV: 'staging', LOG_LEVEL: 'loud', OPENAI_BASE_URL: 'nowhere' })
    expect(problems).toEqual([
      'NODE_ENV must be development, test or production',
      'PORT must be a whole number from 0 to 65535',
      'OPENAI_BASE_URL must be an http:// or https:// URL',
      'LOG_LEVEL must be trace, debug, info, warn, error, fatal or silent',
    ])
  })

  test.each([
    [
      'a secret that is missing in production',
      { NODE_ENV: 'production' },
      'MONK_SECRET is required in production: at least 32 random characters, the same on every process',
    ],
    [
      'cheap password hashes in production',
      { NODE_ENV: 'production', MONK_SECRET: secret, BCRYPT_COST: '10' },
      'BCRYPT_COST must be at least 12 in production',
    ],
    [
      'a database without a secret of its own',
      { DATABASE_URL: 'postgresql://localhost/monk' },
      'MONK_SECRET is required together with DATABASE_URL: the database outlives this data directory',
    ],
    ['a short secret', { MONK_SECRET: 'short' }, 'MONK_SECRET must have at least 32 characters'],
    [
      'a database of another kind',
      { DATABASE_URL: 'mysql://localhost/monk', MONK_SECRET: secret },
      'DATABASE_URL must be a postgresql:// URL',
    ],
    [
      'half a role alone',
      { MONK_ROLES: 'worker' },
      'MONK_ROLES must be api,worker unless DATABASE_URL and REDIS_URL are set: this process is alone',
    ],
    ['a role that there is not', { MONK_ROLES: 'api,cook' }, 'MONK_ROLES must be api, worker, or api,worker'],
    [
      'an origin with a path',
      { PUBLIC_ORIGINS: 'https://example.org/app' },
      'PUBLIC_ORIGINS must be comma-separated origins such as https://example.org, with no path',
    ],
    [
      'a proxy that is no network',
      { TRUSTED_PROXIES: '10.0.0.0/33' },
      'TRUSTED_PROXIES must be comma-separated addresses, CIDR ranges such as 10.0.0.0/8, or loopback, linklocal, uniquelocal',
    ],
    [
      'an endpoint without a key',
      { OPENAI_BASE_URL: 'http://127.0.0.1:1/v1' },
      'OPENAI_API_KEY is required together with OPENAI_BASE_URL; any text will do for a server that needs none',
    ],
    [
      'an unknown provider',
      { AI_DEFAULT_MODELS: 'nobody/model' },
      'AI_DEFAULT_MODELS names an unknown provider or alias; known providers are demo',
    ],
    [
      'an alias of an unknown provider',
      { AI_MODEL_ALIASES: 'fast=nobody/model' },
      'AI_MODEL_ALIASES names an unknown provider; known are demo',
    ],
    [
      'a provider named demo',
      { AI_PROVIDERS: '[{"name":"demo","baseUrl":"http://localhost","apiKey":"x"}]' },
      'AI_PROVIDERS must not name a provider "demo": that is the built-in one',
    ],
  ])('refuses %s', (_what, env, problem) => {
    expect(problemsOf(env)).toEqual([problem])
  })

  test('never shows a value', () => {
    const env = {
      MONK_SECRET: 'hush-secret',
      MONK_BOOTSTRAP_TOKEN: 'hush-token',
      DATABASE_URL: 'hush://user:hush-password@host',
      AI_PROVIDERS: '[{"name":"x","apiKey":"hush-key"',
      PORT: 'hush-port',
    }
    expect(problemsOf(env)).toHaveLength(5)
    expect(problemsOf(env).join('\n')).not.toContain('hush')
  })
})

test('reads the time-outs and limits of providers and models', () => {
  const { ai } = parseConfig({
    OPENAI_API_KEY: 'sk-1',
    AI_MODEL_SETTINGS:
      '{"openai":{"requestsPerMinute":500,"idleMs":20000},"openai/o3":{"firstTokenMs":300000},"openai/small":{"tokensPerMinute":1000}}',
    LIMIT_WORKSPACE_MODEL_REQUESTS_PER_MINUTE: '60',
  })

  expect(ai).toMatchObject({
    providers: [
      {
        name: 'openai',
        timeouts: { idleMs: 20_000 },
        rateLimit: { requestsPerMinute: 500, tokensPerMinute: null },
      },
    ],
    modelTimeouts: { 'openai/o3': { firstTokenMs: 300_000 } },
    modelRateLimits: { 'openai/small': { requestsPerMinute: null, tokensPerMinute: 1_000 } },
    workspaceRateLimit: { requestsPerMinute: 60, tokensPerMinute: null },
  })
})

test.each([
  ['no JSON', '{', 'AI_MODEL_SETTINGS must be a JSON object'],
  ['a setting that there is not', '{"demo":{"speed":1}}', 'AI_MODEL_SETTINGS must be a JSON object'],
  ['a limit of nothing', '{"demo":{"requestsPerMinute":0}}', 'AI_MODEL_SETTINGS must be a JSON object'],
  ['a provider that there is not', '{"other/m":{"idleMs":1}}', 'AI_MODEL_SETTINGS names an unknown provider'],
])('refuses model settings with %s', (_what, text, problem) => {
  expect(() => parseConfig({ AI_MODEL_SETTINGS: text })).toThrow(problem)
})
