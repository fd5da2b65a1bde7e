import { createHash } from 'node:crypto'
import OpenAI from 'openai'
import type { RateLimit } from './model-call.ts'
import type { AiTimeouts } from './timeouts.ts'

/** One OpenAI-compatible endpoint. */
export type ProviderConfig = {
  /** What stands before the slash of a model's name. `demo` is taken. */
  name: string
  /** Null: OpenAI itself. */
  baseUrl: string | null
  /** Empty: no Authorization header is sent (a server of one's own). */
  apiKey: string
  /** Longer or shorter than the general ones, for all its models. */
  timeouts?: Partial<AiTimeouts>
  /** How much its key may be used, all models together. */
  rateLimit?: RateLimit
}

export type Fetch = typeof globalThis.fetch

/** A provider as it is called. */
export type Provider = {
  readonly name: string
  readonly baseUrl: string | null
  readonly apiKey: string
  /** Names the key without telling it: what is known of one key says nothing of another. */
  readonly keyId: string
  readonly sdk: OpenAI
  /** What it calls the maximum of output tokens, as far as one can know before asking. */
  readonly maxTokensName: MaxTokensName
}

/**
 * OpenAI renamed it, and its newer models refuse the old name; most compatible servers know only the old one, and some
 * ignore the new one silently.
 */
export type MaxTokensName = 'max_tokens' | 'max_completion_tokens'

export const openAiBaseUrl = 'https://api.openai.com/v1'

const providerName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/

export function createProvider(config: ProviderConfig, options: { fetch?: Fetch } = {}): Provider {
  const { name, baseUrl, apiKey } = config
  if (!providerName.test(name)) throw new Error(`"${name}" is not a name a provider can have`)
  const url = baseUrl ?? openAiBaseUrl
  const { hostname } = new URL(url)
  const sdk = new OpenAI({
    // Everything that the SDK would otherwise read from the environment is said here, so that what is not configured is
    // not sent.
    apiKey: apiKey === '' ? 'none' : apiKey,
    adminAPIKey: null,
    organization: null,
    project: null,
    webhookSecret: null,
    baseURL: url,
    // Retries, time-outs and logs are ours. Its time-out ends with the headers, it waits out a Retry-After of any
    // length, and its log holds prompts.
    maxRetries: 0,
    timeout: maxTimerMs,
    logLevel: 'off',
    ...(apiKey === '' ? { defaultHeaders: { Authorization: null } } : {}),
    ...(options.fetch === undefined ? {} : { fetch: options.fetch }),
  })
  const isOpenAi = hostname === 'api.openai.com' || hostname.endsWith('.openai.azure.com')
  const keyId = createHash('sha256').update(`${url}\0${apiKey}`).digest('hex').slice(0, keyIdChars)
  const maxTokensName = isOpenAi ? 'max_completion_tokens' : 'max_tokens'
  return { name, baseUrl, apiKey, keyId, sdk, maxTokensName }
}

/** 48 bits: enough to tell a few keys apart, too few to find one by. */
const keyIdChars = 12

const maxTimerMs = 2 ** 31 - 1
