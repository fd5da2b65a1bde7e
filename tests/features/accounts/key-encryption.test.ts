import { describe, expect, test } from 'vitest'
import { createKeyEncryption, WrongSecretError } from '../../../src/features/accounts/key-encryption.ts'

const secret = 'the secret of this test, long enough'
const encryption = createKeyEncryption(secret)
const key = Buffer.from('a key that must not be read')

describe('the encryption of keys', () => {
  test('gives back what was encrypted, in another process with the same secret too', () => {
    const value = encryption.encrypt(key, 'row 1')
    expect(value).toMatch(/^v1:[0-9a-f]{12}:[\w-]{16}:[\w-]{22}:[\w-]+$/)
    expect(value).not.toContain(key.toString('base64url'))
    expect(createKeyEncryption(secret).decrypt(value, 'row 1')).toEqual(key)
  })

  test('never gives the same value twice', () => {
    expect(encryption.encrypt(key, 'row 1')).not.toBe(encryption.encrypt(key, 'row 1'))
  })

  test('says that another secret is needed, without telling either', () => {
    const value = encryption.encrypt(key, 'row 1')
    const other = createKeyEncryption('another secret, as long as the first')
    expect(() => other.decrypt(value, 'row 1')).toThrow(WrongSecretError)
    expect(() => other.decrypt(value, 'row 1')).toThrow(/another MONK_SECRET/)
    expect(() => other.decrypt(value, 'row 1')).not.toThrow(/another secret, as long|the secret of this test/)
  })

  test.each([
    ['another row', (value: string) => value, 'row 2'],
    ['another byte of data', (value: string) => flip(value, 4), 'row 1'],
    ['another tag', (value: string) => flip(value, 3), 'row 1'],
    ['a short tag', (value: string) => replacePart(value, 3, 'AAAA'), 'row 1'],
    ['another nonce', (value: string) => flip(value, 2), 'row 1'],
    ['another version', (value: string) => value.replace('v1:', 'v2:'), 'row 1'],
    ['a missing part', (value: string) => value.split(':').slice(0, 4).join(':'), 'row 1'],
    ['one part too many', (value: string) => `${value}:AAAA`, 'row 1'],
    ['no text', () => '', 'row 1'],
  ])('refuses %s', (_what, change, context) => {
    const changed = change(encryption.encrypt(key, 'row 1'))
    expect(() => encryption.decrypt(changed, context)).toThrow('cannot be read')
  })
})

function flip(value: string, index: number): string {
  const bytes = Buffer.from(value.split(':')[index] ?? '', 'base64url')
  bytes.writeUInt8(bytes.readUInt8(0) ^ 1, 0)
  return replacePart(value, index, bytes.toString('base64url'))
}

function replacePart(value: string, index: number, part: string): string {
  return value
    .split(':')
    .map((old, at) => (at === index ? part : old))
    .join(':')
}
