import { expect, test } from 'vitest'
import { storableJson, toStorable } from '../../src/lib/stored-text.ts'

test('replaces what jsonb refuses, in keys and values, and nothing else', () => {
  const value = { 'k\0': ['\0a', '\ud83d', 'x\udc00y', '😀', '\\u0000', '\\\\\0', '\u0001\n"', null, 1.5] }

  expect(JSON.parse(storableJson(value))).toEqual({
    'k\ufffd': ['\ufffda', '\ufffd', 'x\ufffdy', '😀', '\\u0000', '\\\\\ufffd', '\u0001\n"', null, 1.5],
  })
})

test('replaces what text columns refuse, unit by unit', () => {
  expect(toStorable('a\0b\ud83d😀\udc00')).toBe('a\ufffdb\ufffd😀\ufffd')
})
