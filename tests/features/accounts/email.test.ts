import { describe, expect, test } from 'vitest'
import { lookupEmail, parseNewEmail } from '../../../src/features/accounts/email.ts'

describe('the e-mail of a new account', () => {
  test.each([
    ['Alice@Example.COM', 'alice@example.com'],
    ['  alice@example.com\n', 'alice@example.com'],
    ['jose\u0301@example.com', 'jos\u00e9@example.com'],
    ['o\u2019brien+monk_ai@sub-domain.example.co.uk', 'o\u2019brien+monk_ai@sub-domain.example.co.uk'],
    ['пользователь@пример.рф', 'пользователь@пример.рф'],
  ])('is %j normalised to %j', (given, normalised) => {
    expect(parseNewEmail(given)).toBe(normalised)
    expect(lookupEmail(given)).toBe(normalised)
  })

  test.each([
    ['nothing', ''],
    ['no @', 'alice.example.com'],
    ['two @', 'alice@home@example.com'],
    ['no local part', '@example.com'],
    ['no domain', 'alice@'],
    ['a domain without a dot', 'alice@localhost'],
    ['an empty label', 'alice@example..com'],
    ['a dot at the end', 'alice@example.com.'],
    ['a label that begins with a hyphen', 'alice@-example.com'],
    ['a local part with two dots', 'al..ice@example.com'],
    ['a space', 'al ice@example.com'],
    ['NUL', 'alice\u0000@example.com'],
    ['a line break', 'alice@example.com\r\nBcc: bob@example.com'],
    ['a zero-width character', 'ali\u200bce@example.com'],
    ['a right-to-left override', 'alice\u202e@example.com'],
    ['half a surrogate pair', 'alice\ud83d@example.com'],
    ['markup', '<alice@example.com>'],
    ['a quoted local part', '"alice"@example.com'],
    ['a local part of 65 characters', `${'a'.repeat(65)}@example.com`],
    ['255 characters', `a@${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(63)}.${'e'.repeat(61)}`],
    ['a megabyte of combining marks', `a${'\u0301\u0323'.repeat(250_000)}@example.com`],
  ])('is refused with %s', (_what, email) => {
    expect(() => parseNewEmail(email)).toThrow(
      expect.objectContaining({ code: 'BAD_USER_INPUT', details: { field: 'input.email' } }),
    )
  })
})

test('an e-mail that no account can have is not looked up', () => {
  expect(lookupEmail('alice\u0000@example.com')).toBeNull()
  expect(lookupEmail('a'.repeat(10_000))).toBeNull()
})
