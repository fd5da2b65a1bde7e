import { isIP } from 'node:net'
import { z } from 'zod'
import { parseRedisUrl, RedisUrlError } from './platform/redis/redis-url.ts'

// How the text of an environment variable is read, kind by kind. Messages begin with "must" and never contain the value.

/** What a process does: serve the API, run tasks. */
export type Role = 'api' | 'worker'

export type ProviderConfig = { name: string; baseUrl: string | null; apiKey: string }

const modelName = /^[a-z0-9][a-z0-9_-]*\/\S+$/i
const providerName = /^[a-z0-9][a-z0-9_-]*$/i

const protocolOf = (text: string): string | null => (URL.canParse(text) ? new URL(text).protocol : null)

export const integer = (min: number, max: number) =>
  z.coerce
    .number(`must be a whole number from ${min} to ${max}`)
    .int(`must be a whole number from ${min} to ${max}`)
    .min(min, `must be a whole number from ${min} to ${max}`)
    .max(max, `must be a whole number from ${min} to ${max}`)

export const onOrOff = z.enum(['on', 'off'], 'must be on or off').transform((value) => value === 'on')

const commaList = z.string().transform((text) =>
  text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== ''),
)

export const httpUrl = z.string().refine((text) => {
  const protocol = protocolOf(text)
  return protocol === 'http:' || protocol === 'https:'
}, 'must be an http:// or https:// URL')

/** Undefined when it is no JSON: what JSON.parse says quotes the text, and that may hold keys. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}

export const providerList = z.string().transform((text, context) => {
  const shape = z.array(
    z.object({ name: z.string().regex(providerName), baseUrl: httpUrl, apiKey: z.string().min(1) }).strict(),
  )
  const parsed = shape.safeParse(parseJson(text))
  if (parsed.success) return parsed.data
  context.addIssue(
    'must be a JSON array of {"name": letters, digits, - or _, "baseUrl": an http(s) URL, "apiKey": text}',
  )
  return z.NEVER
})

const positive = z.number().int().min(1)
const modelSetting = z
  .object({
    connectMs: positive.max(600_000),
    firstTokenMs: positive.max(3_600_000),
    idleMs: positive.max(3_600_000),
    totalMs: positive.max(3_600_000),
    requestsPerMinute: positive.max(1_000_000),
    tokensPerMinute: positive.max(1_000_000_000),
  })
  .partial()
  .strict()

/** Time-outs and limits of one provider or model. */
export type ModelSetting = z.output<typeof modelSetting>

export const modelSettings = z.string().transform((text, context): Readonly<Record<string, ModelSetting>> => {
  const parsed = z.record(z.string(), modelSetting).safeParse(parseJson(text))
  if (parsed.success) return parsed.data
  context.addIssue(
    'must be a JSON object of {"provider" or "provider/model": {"connectMs", "firstTokenMs", "idleMs", "totalMs", "requestsPerMinute", "tokensPerMinute"}}, each a positive whole number',
  )
  return z.NEVER
})

export const aliasList = commaList.transform((items, context) => {
  const aliases: Record<string, string> = {}
  for (const item of items) {
    const [alias = '', model = ''] = item.split(/=(.*)/s)
    if (providerName.test(alias) && modelName.test(model)) aliases[alias] = model
    else context.addIssue('must be comma-separated alias=provider/model')
  }
  return aliases
})

export const modelList = commaList.refine(
  (models) =>
    models.length > 0 &&
    models.length <= 8 &&
    models.every((model) => modelName.test(model) || providerName.test(model)),
  'must be 1 to 8 comma-separated provider/model names or aliases',
)

export const originList = commaList.refine(
  (origins) => origins.every((origin) => URL.canParse(origin) && new URL(origin).origin === origin),
  'must be comma-separated origins such as https://example.org, with no path',
)

const proxyName = /^(?:loopback|linklocal|uniquelocal)$/

export const proxyList = commaList.refine(
  (proxies) => proxies.every((proxy) => proxyName.test(proxy) || isNetwork(proxy)),
  'must be comma-separated addresses, CIDR ranges such as 10.0.0.0/8, or loopback, linklocal, uniquelocal',
)

function isNetwork(text: string): boolean {
  const [address = '', bits, ...rest] = text.split('/')
  const version = isIP(address)
  if (version === 0 || rest.length > 0) return false
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128))
}

export const roles = ['api', 'worker'] as const

export const roleList = commaList.transform((names, context): Role[] => {
  const chosen = roles.filter((role) => names.includes(role))
  if (chosen.length > 0 && chosen.length === names.length) return chosen
  context.addIssue('must be api, worker, or api,worker')
  return z.NEVER
})

export const redisUrl = z.string().superRefine((text, context) => {
  try {
    parseRedisUrl(text)
  } catch (error) {
    if (!(error instanceof RedisUrlError)) throw error
    context.addIssue(error.message)
  }
})

export const databaseUrl = z.string().refine((text) => {
  const protocol = protocolOf(text)
  return protocol === 'postgres:' || protocol === 'postgresql:'
}, 'must be a postgresql:// URL')
