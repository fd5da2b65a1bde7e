import { expect, test } from 'vitest'
import { jsonValue, nameText } from '../../src/lib/stored-text.ts'

test('normalises and trims a name', () => {
  expect(nameText(10).parse('  e\u0301te\u0301 ')).toBe('été')
})

test.each([
  ['nothing', '   ', 'must not be empty'],
  ['a name that is too long', 'x'.repeat(11), 'must have at most 10 characters'],
  ['a line break', 'a\nb', 'must not contain control characters'],
  ['half of a surrogate pair', 'a\ud800', 'must not contain control characters'],
])('refuses %s as a name', (_what, name, message) => {
  expect(
    nameText(10)
      .safeParse(name)
      .error?.issues.map((issue) => issue.message),
  ).toEqual([message])
})

test('refuses a flood of combining marks before it normalises them', () => {
  const startedMs = performance.now()
  expect(nameText(100).safeParse(`a${'\u0301\u0316'.repeat(250_000)}`).success).toBe(false)
  expect(performance.now() - startedMs).toBeLessThan(5_000)
})

test.each([
  ['NUL', { a: ['x\u0000'] }],
  ['NUL in a key', { 'x\u0000': 1 }],
  ['more bytes than allowed', 'x'.repeat(100)],
])('refuses a JSON value with %s', (_what, value) => {
  expect(jsonValue(50).safeParse(value).success).toBe(false)
})
