import { expect, test } from 'vitest'
import { canonicalJson } from '../../src/lib/canonical-json.ts'

test('gives equal values equal texts, whatever the order of their keys', () => {
  expect(canonicalJson({ b: [{ d: 1, c: null }], a: 'x' })).toBe('{"a":"x","b":[{"c":null,"d":1}]}')
})

test('leaves out what is undefined and writes dates as ISO strings', () => {
  expect(canonicalJson({ at: new Date(0), none: undefined })).toBe('{"at":"1970-01-01T00:00:00.000Z"}')
})

test('takes a key named __proto__ for one like any other', () => {
  expect(canonicalJson(JSON.parse('{"__proto__":{"a":1},"b":2}'))).toBe('{"__proto__":{"a":1},"b":2}')
})
