import { z } from 'zod'
import {
  aliasList,
  httpUrl,
  integer,
  modelList,
  modelSettings,
  providerList,
  type ProviderConfig,
} from './config-values.ts'

// Which models there are, and how they are asked. `src/ai/README.md` says what becomes of it.

export type AiConfig = {
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

type AiTimeouts = { connectMs?: number; firstTokenMs?: number; idleMs?: number; totalMs?: number }
/** Null: no limit. */
type RateLimit = { requestsPerMinute: number | null; tokensPerMinute: number | null }

export const aiVariables = {
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
}

export const aiLimitVariables = {
  LIMIT_WORKSPACE_MODEL_REQUESTS_PER_MINUTE: integer(1, 1_000_000)
    .optional()
    .describe('calls of models for each workspace; absent: no limit'),
  LIMIT_WORKSPACE_MODEL_TOKENS_PER_MINUTE: integer(1, 1_000_000_000)
    .optional()
    .describe('tokens of input and output for each workspace; absent: no limit'),
}

type AiEnvironment = z.output<z.ZodObject<typeof aiVariables & typeof aiLimitVariables>>

/** What is wrong with variables that are each right by themselves. */
export function aiProblems(env: AiEnvironment): string[] {
  const problems: string[] = []
  if (env.OPENAI_BASE_URL !== undefined && env.OPENAI_API_KEY === undefined) {
    problems.push(
      'OPENAI_API_KEY is required together with OPENAI_BASE_URL; any text will do for a server that needs none',
    )
  }
  const names = providersOf(env).map((provider) => provider.name)
  const twice = names.find((name, index) => names.indexOf(name) !== index)
  if (twice !== undefined)
    problems.push(`AI_PROVIDERS names the provider "${twice}" twice; openai is taken when OPENAI_API_KEY is set`)
  if (names.includes('demo')) problems.push('AI_PROVIDERS must not name a provider "demo": that is the built-in one')
  return [...problems, ...modelProblems(env, new Set([...names, 'demo']))]
}

function modelProblems(env: AiEnvironment, providers: ReadonlySet<string>): string[] {
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

function providersOf(env: AiEnvironment): ProviderConfig[] {
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
function settingOf(env: AiEnvironment, name: string): { timeouts?: AiTimeouts; rateLimit?: RateLimit } {
  const { requestsPerMinute = null, tokensPerMinute = null, ...given } = env.AI_MODEL_SETTINGS[name] ?? {}
  const timeouts = timeoutsOf(given)
  return {
    ...(Object.keys(timeouts).length > 0 && { timeouts }),
    ...((requestsPerMinute !== null || tokensPerMinute !== null) && {
      rateLimit: { requestsPerMinute, tokensPerMinute },
    }),
  }
}

function modelSettingsOf(env: AiEnvironment) {
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

export function toAi(env: AiEnvironment): AiConfig {
  const fallbackModel = env.OPENAI_API_KEY === undefined ? 'demo/demo' : 'openai/gpt-5-mini'
  return {
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
  }
}
