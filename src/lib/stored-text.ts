import { z } from 'zod'

// Postgres stores no NUL, and half of a surrogate pair would silently become U+FFFD.
const nul = '\u0000'
const loneSurrogate = /\p{Surrogate}/u
const loneSurrogates = /\p{Surrogate}/gu
const replacement = '\uFFFD'
const unstorableEscape = /\\u(?:0000|d[89a-f])/
// From the left, so that the second half of an escaped backslash is not taken for a beginning.
const anyEscape = /\\(?:u[0-9a-f]{4}|.)/g
// Before it is normalised: a letter may come with a few marks.
const maxUnitsPerCharacter = 8
const controlCharacter = /\p{Cc}/u

export type JsonObject = { readonly [key: string]: JsonValue }
type JsonValue = string | number | boolean | null | JsonObject | readonly JsonValue[]

/** Whether the text comes back from the database as it was given. */
export function isStorable(text: string): boolean {
  return !text.includes(nul) && !loneSurrogate.test(text)
}

/** The text with U+FFFD for what Postgres refuses or would change. Its length in UTF-16 units stays as it is. */
export function toStorable(text: string): string {
  return text.replaceAll(nul, replacement).replaceAll(loneSurrogates, replacement)
}

/**
 * The value as JSON that `jsonb` takes, whatever a provider or a model has put into it: U+FFFD for NUL and for half surrogate pairs, in keys
 * too. `JSON.stringify` writes just those as escapes that say so (whole pairs it writes as they are), which is cheaper to look for than to
 * walk through the value.
 */
export function storableJson(value: unknown): string {
  const json = JSON.stringify(value)
  return unstorableEscape.test(json)
    ? json.replaceAll(anyEscape, (escape) => (unstorableEscape.test(escape) ? '\\ufffd' : escape))
    : json
}

/** How many bytes the text takes as UTF-8. */
export function utf8Bytes(text: string): number {
  return Buffer.byteLength(text, 'utf8')
}

/** A name for people: NFC, trimmed, 1 to `maxCodePoints` characters, in one line. */
export function nameText(maxCodePoints: number) {
  return (
    z
      .string('must be text')
      // First, because NFC takes time quadratic in combining marks: 100 000 of them stop the event loop for seconds.
      .refine((text) => text.length <= maxCodePoints * maxUnitsPerCharacter, {
        error: `must have at most ${maxCodePoints} characters`,
        abort: true,
      })
      .transform((text) => text.normalize('NFC').trim())
      .refine((text) => text !== '', 'must not be empty')
      .refine((text) => codePoints(text) <= maxCodePoints, `must have at most ${maxCodePoints} characters`)
      .refine((text) => isStorable(text) && !controlCharacter.test(text), 'must not contain control characters')
  )
}

/** Text kept as it is, of at most `maxCodePoints` characters. */
export function shortText(maxCodePoints: number) {
  return storableText().refine(
    (text) => codePoints(text) <= maxCodePoints,
    `must have at most ${maxCodePoints} characters`,
  )
}

/** Text kept as it is, of 1 to `maxBytes` bytes as UTF-8. */
export function longText(maxBytes: number) {
  return storableText()
    .refine((text) => text !== '', 'must not be empty')
    .refine((text) => utf8Bytes(text) <= maxBytes, `must have at most ${maxBytes} bytes`)
}

/** A JSON object of at most `maxBytes` bytes that comes back from the database as it was given. */
export function jsonObject(maxBytes: number) {
  return (
    z
      // Aborting, because what follows reads its members.
      .custom<JsonObject>(isObject, { error: 'must be a JSON object', abort: true })
      .refine((value) => isStorableJson(value), 'must not contain NUL or half of a surrogate pair')
      .refine((value) => utf8Bytes(JSON.stringify(value)) <= maxBytes, `must have at most ${maxBytes} bytes`)
  )
}

/** Any JSON value of at most `maxBytes` bytes that comes back from the database as it was given. */
export function jsonValue(maxBytes: number) {
  return z
    .unknown()
    .refine((value) => isStorableJson(value), 'must not contain NUL or half of a surrogate pair')
    .refine((value) => utf8Bytes(JSON.stringify(value ?? null)) <= maxBytes, `must have at most ${maxBytes} bytes`)
}

function storableText() {
  return z.string('must be text').refine(isStorable, 'must not contain NUL or half of a surrogate pair')
}

function codePoints(text: string): number {
  return [...text].length
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

// The JSON scalar bounds the depth.
function isStorableJson(value: unknown): boolean {
  if (typeof value === 'string') return isStorable(value)
  if (typeof value !== 'object' || value === null) return true
  return Object.entries(value).every(([key, member]) => isStorable(key) && isStorableJson(member))
}
