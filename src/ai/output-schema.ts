import { Ajv, type ValidateFunction } from 'ajv'
import { Ajv2020 } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import { LRUCache } from 'lru-cache'
import { BadUserInputError } from '../lib/errors.ts'
import { isRecord, parseJson } from './json-value.ts'
import type { JsonSchema } from './model-call.ts'
import { createTimeLimit, TimeLimitError } from './time-limit.ts'

export type OutputCheck = { ok: true; value: unknown } | { ok: false; problem: string }

/** A schema that answers are held to. */
export interface OutputSchema {
  readonly schema: JsonSchema
  /** Parses an answer's text and validates it. A Markdown fence around the JSON is taken off. */
  check(text: string): OutputCheck
  /** Validates a value that is parsed already. */
  validate(value: unknown): OutputCheck
}

/**
 * Makes validators of JSON Schema 2020-12 (the default) or draft-07 (when `$schema` says so), and remembers the last
 * ones.
 */
export interface OutputSchemas {
  /**
   * Throws BadUserInputError, naming `field`, for what is no schema, is too large or refers to something outside
   * itself.
   */
  compile(schema: unknown, field?: string): OutputSchema
}

/** 32 KiB of schema take about 0.1 s to compile; larger ones would hold up everybody else. */
export const maxOutputSchemaBytes = 32 * 1024
const maxCompiledSchemas = 200
const compileTimeLimitMs = 2_000
// A schema's `pattern` is a regular expression of somebody else's, and the answer is a model's.
const validateTimeLimitMs = 250

const ajvOptions = {
  strict: false,
  logger: false,
  // The schema is validated by an instance that is kept, because compiling the metaschema takes 25 ms; the schema
  // itself gets an instance of its own, because Ajv keeps every `$id` it has ever seen, and one caller's must not
  // answer another's `$ref`.
  validateSchema: false,
  // Inlining makes the code of a small schema with many references to a large part exponentially larger than the
  // schema.
  inlineRefs: false,
  // Twice as fast to compile.
  code: { optimize: false },
} as const

export function createOutputSchemas(): OutputSchemas {
  const compiled = new LRUCache<string, OutputSchema>({ max: maxCompiledSchemas })
  const metaschemas = new Map<string, Ajv>()
  const timeLimit = createTimeLimit()

  function compileNew(schema: JsonSchema, field: string): OutputSchema {
    const draft = draftOf(schema, field)
    const validate = timeLimit.run(() => {
      const metaschema = metaschemas.get(draft) ?? createAjv(draft)
      metaschemas.set(draft, metaschema)
      if (metaschema.validateSchema(schema) !== true)
        throw invalidSchema(field, metaschema.errorsText(metaschema.errors))
      const ajv = createAjv(draft)
      addFormats.default(ajv)
      return ajv.compile(schema)
    }, compileTimeLimitMs)
    const check = (value: unknown): OutputCheck =>
      runValidation(() => timeLimit.run(() => validateValue(validate, value), validateTimeLimitMs))
    return {
      schema,
      check(text) {
        const value = parseJson(withoutFence(text))
        return value === undefined ? { ok: false, problem: 'the answer is not JSON' } : check(value)
      },
      validate: check,
    }
  }

  return {
    compile(schema, field = 'outputSchema') {
      if (!isRecord(schema)) throw invalidSchema(field, 'it must be an object')
      // Ajv's own extension: such a validator returns a promise.
      if ('$async' in schema) throw invalidSchema(field, '"$async" is not a keyword of JSON Schema')
      const text = JSON.stringify(schema)
      const known = compiled.get(text)
      if (known !== undefined) return known
      if (Buffer.byteLength(text) > maxOutputSchemaBytes) {
        throw invalidSchema(field, `it must not be larger than ${String(maxOutputSchemaBytes)} bytes`)
      }
      try {
        const made = compileNew(schema, field)
        compiled.set(text, made)
        return made
      } catch (error) {
        if (error instanceof BadUserInputError) throw error
        // Ajv throws plain errors for what it cannot compile: an unknown type, a reference to nowhere, a broken
        // pattern.
        throw invalidSchema(field, error instanceof Error ? error.message : String(error), error)
      }
    },
  }
}

function createAjv(draft: Draft): Ajv {
  return draft === 'draft-07' ? new Ajv(ajvOptions) : new Ajv2020(ajvOptions)
}

type Draft = '2020-12' | 'draft-07'

function draftOf(schema: JsonSchema, field: string): Draft {
  const declared = schema['$schema']
  if (declared === undefined) return '2020-12'
  if (typeof declared === 'string' && declared.includes('json-schema.org/draft-07/')) return 'draft-07'
  if (typeof declared === 'string' && declared.includes('json-schema.org/draft/2020-12/')) return '2020-12'
  throw invalidSchema(field, 'its "$schema" must be that of draft-07 or 2020-12')
}

function invalidSchema(field: string, problem: string, cause?: unknown): BadUserInputError {
  return new BadUserInputError(field, `This is not a JSON Schema that can be used: ${problem}.`, { cause })
}

function validateValue(validate: ValidateFunction, value: unknown): OutputCheck {
  const isValid: unknown = validate(value)
  if (isValid === true) return { ok: true, value }
  const [first] = validate.errors ?? []
  const where = first?.instancePath === '' ? 'the answer' : `"${first?.instancePath ?? ''}"`
  return { ok: false, problem: `${where} ${first?.message ?? 'is not valid'}` }
}

// A schema may refer to itself without end, or hold a pattern that backtracks without end: both are the schema's fault,
// and no answer passes.
function runValidation(validation: () => OutputCheck): OutputCheck {
  try {
    return validation()
  } catch (error) {
    if (error instanceof TimeLimitError || error instanceof RangeError) {
      return { ok: false, problem: `the answer could not be validated: ${error.message}` }
    }
    throw error
  }
}

const fenced = /^```(?:json)?[ \t]*\r?\n([\s\S]*?)\r?\n?```$/i

function withoutFence(text: string): string {
  const trimmed = text.trim()
  return fenced.exec(trimmed)?.[1] ?? trimmed
}
