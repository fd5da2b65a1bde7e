import type { DemoRequest } from './demo-request.ts'
import { isRecord } from './json-value.ts'
import type { OutputSchemas } from './output-schema.ts'

const maxEchoChars = 120

/** What the demo provider says: the same for the same request; null when it cannot say anything valid. */
export function demoAnswer({ lastUserText, schema }: DemoRequest, outputSchemas: OutputSchemas): string | null {
  if (!isRecord(schema)) return demoText(lastUserText)
  const value = demoValue(schema, { root: schema, depth: 0 })
  return outputSchemas.compile(schema).validate(value).ok ? JSON.stringify(value) : null
}

function demoText(prompt: string): string {
  const words = prompt.trim().replaceAll(/\s+/g, ' ')
  const characters = [...words]
  const echo = characters.length > maxEchoChars ? `${characters.slice(0, maxEchoChars).join('')}…` : words
  return (
    `This is the demo provider: no model was asked. ` +
    (echo === '' ? 'The prompt was empty. ' : `You wrote: “${echo}” `) +
    `A real model would answer here; these words only show that everything between you and a model works, token by token. ` +
    `To get real answers, set OPENAI_API_KEY or AI_PROVIDERS and start again.`
  )
}

type Place = { root: Record<string, unknown>; depth: number }

const maxDepth = 12
const demoString = 'demo provider: no model was asked'

const stringOfFormat: Readonly<Record<string, string>> = {
  'date-time': '2025-01-01T00:00:00Z',
  date: '2025-01-01',
  time: '00:00:00Z',
  duration: 'PT0S',
  email: 'demo@example.com',
  uri: 'https://example.com/demo',
  uuid: '00000000-0000-4000-8000-000000000000',
  hostname: 'example.com',
  ipv4: '192.0.2.1',
  ipv6: '2001:db8::1',
}

/** A value for a simple schema: a guess, to be validated by whoever uses it. */
function demoValue(schema: unknown, place: Place): unknown {
  if (!isRecord(schema) || place.depth > maxDepth) return null
  const inner = { ...place, depth: place.depth + 1 }
  if ('const' in schema) return schema['const']
  if (Array.isArray(schema['enum'])) return schema['enum'][0]
  if (typeof schema['$ref'] === 'string') return demoValue(referred(schema['$ref'], place.root), inner)
  for (const keyword of ['anyOf', 'oneOf', 'allOf']) {
    const options = schema[keyword]
    if (Array.isArray(options) && !('properties' in schema)) return demoValue(options[0], inner)
  }
  switch (typeOf(schema)) {
    case 'object':
      return demoObject(schema, inner)
    case 'array':
      return Array.from({ length: numberOr(schema['minItems'], 0) }, () => demoValue(schema['items'], inner))
    case 'string':
      return demoStringValue(schema)
    case 'integer':
    case 'number':
      return demoNumber(schema)
    case 'boolean':
      return false
    default:
      return null
  }
}

function typeOf(schema: Record<string, unknown>): unknown {
  const { type } = schema
  if (Array.isArray(type)) return type[0]
  return type ?? ('properties' in schema ? 'object' : 'string')
}

function demoObject(schema: Record<string, unknown>, inner: Place): Record<string, unknown> {
  const properties = isRecord(schema['properties']) ? schema['properties'] : {}
  return Object.fromEntries(Object.entries(properties).map(([name, property]) => [name, demoValue(property, inner)]))
}

function demoStringValue(schema: Record<string, unknown>): string {
  const { format } = schema
  if (typeof format === 'string' && format in stringOfFormat) return stringOfFormat[format] ?? ''
  const text = demoString.padEnd(Math.min(numberOr(schema['minLength'], 0), 1_000), '.')
  return text.slice(0, numberOr(schema['maxLength'], text.length))
}

function demoNumber(schema: Record<string, unknown>): number {
  if (typeof schema['minimum'] === 'number') return schema['minimum']
  if (typeof schema['exclusiveMinimum'] === 'number') return Math.floor(schema['exclusiveMinimum']) + 1
  return Math.min(0, numberOr(schema['maximum'], 0), numberOr(schema['exclusiveMaximum'], 1) - 1)
}

function numberOr(value: unknown, fallback: number): number {
  return typeof value === 'number' ? value : fallback
}

function referred(reference: string, root: Record<string, unknown>): unknown {
  if (!reference.startsWith('#')) return null
  const steps = reference.slice(1).split('/').slice(1)
  return steps.reduce<unknown>((found, step) => {
    const key = step.replaceAll('~1', '/').replaceAll('~0', '~')
    return isRecord(found) ? found[key] : undefined
  }, root)
}
