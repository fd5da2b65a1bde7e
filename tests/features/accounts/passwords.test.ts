import bcrypt from 'bcrypt'
import { createHmac } from 'node:crypto'
import { afterAll, describe, expect, test } from 'vitest'
import { createHashSlots } from '../../../src/features/accounts/hash-slots.ts'
import { openKeyRows } from '../../../src/features/accounts/key-rows.ts'
import { createPasswordStrength } from '../../../src/features/accounts/password-strength.ts'
import { createPasswords } from '../../../src/features/accounts/passwords.ts'
import type { AppError } from '../../../src/lib/errors.ts'
import { newId } from '../../../src/lib/ids.ts'
import { createLogger } from '../../../src/platform/logger.ts'
import { startTestDatabase } from '../../support/test-database.ts'
import { goodPassword, manualClock, secret } from './account-fixtures.ts'

const db = await startTestDatabase()
const logger = createLogger({ level: 'silent' })
const keys = await openKeyRows({ db, secret, clock: manualClock(), newId, logger })
const slots = createHashSlots({ maxRunning: 1, maxWaiting: 8, maxWaitMs: 10_000 })
const strength = createPasswordStrength()
const passwords = createPasswords({ keys, slots, strength, bcryptCost: 4 })
const email = 'alice@example.com'
afterAll(async () => {
  await keys.close()
  await db[Symbol.asyncDispose]()
})

describe('a stored password', () => {
  test('is bcrypt over the base64 of HMAC-SHA384 with the pepper, which it names', async () => {
    const pepper = keys.current('PEPPER')
    if (pepper.material.kind !== 'symmetric') throw new Error('expected a symmetric key')
    const [version, pepperId, hash] = (await passwords.hash(goodPassword, email)).split(':')
    expect([version, pepperId]).toEqual(['v1', pepper.id])
    expect(hash).toMatch(/^\$2b\$04\$/)
    const peppered = createHmac('sha384', pepper.material.bytes).update(goodPassword).digest('base64')
    expect(await bcrypt.compare(peppered, hash ?? '')).toBe(true)
  })

  test('is never the same twice, and is only that of its password', async () => {
    const first = await passwords.hash(goodPassword, email)
    const second = await passwords.hash(goodPassword, email)
    expect(first).not.toBe(second)
    expect(await passwords.verify(goodPassword, first)).toBe(true)
    expect(await passwords.verify(goodPassword, second)).toBe(true)
    expect(await passwords.verify(`${goodPassword} `, first)).toBe(false)
    expect(await passwords.verify('', first)).toBe(false)
  })

  test('counts every character: also those after byte 72, and after a NUL', async () => {
    const long = `${'violet otter canyon '.repeat(5)}A`
    const stored = await passwords.hash(long, email)
    expect(await passwords.verify(long, stored)).toBe(true)
    expect(await passwords.verify(`${long.slice(0, -1)}B`, stored)).toBe(false)
    const withNul = await passwords.hash('violet\u0000otter-canyon-42', email)
    expect(await passwords.verify('violet\u0000otter-canyon-43', withNul)).toBe(false)
  })

  test('is the same however a keyboard composes its characters', async () => {
    const stored = await passwords.hash('café-otter-canyon-42'.normalize('NFD'), email)
    expect(await passwords.verify('café-otter-canyon-42'.normalize('NFC'), stored)).toBe(true)
  })

  test('is still known when its pepper is retiring, and an error when it is gone', async () => {
    const stored = await passwords.hash(goodPassword, email)
    const pepper = keys.current('PEPPER')
    await db.prisma.keyRow.update({ where: { id: pepper.id }, data: { state: 'RETIRING' } })
    await keys.reload()
    expect(await passwords.verify(goodPassword, stored)).toBe(true)
    await db.prisma.keyRow.update({ where: { id: pepper.id }, data: { state: 'RETIRED' } })
    await keys.reload()
    await expect(passwords.verify(goodPassword, stored)).rejects.toThrow('a pepper that this program does not have')
    await db.prisma.keyRow.update({ where: { id: pepper.id }, data: { state: 'CURRENT' } })
    await keys.reload()
  })
})

describe('a new password', () => {
  test.each([
    ['11 characters', 'v1olet-0tt3', /12 to 128/],
    ['129 characters', 'violet otter '.repeat(10).slice(0, 129), /12 to 128/],
    ['a megabyte of combining marks', `a${'\u0301\u0323'.repeat(250_000)}`, /12 to 128/],
    ['half a surrogate pair', 'violet-otter-\ud83d-canyon', /Unicode/],
    ['a common one', 'password1234', /commonly used/],
    ['repetition', 'abcabcabcabcabc', /easy to guess/],
    ['its owner’s e-mail', 'alice@example.com', /personal/],
  ])('is refused with %s, and told how to do better', async (_what, password, message) => {
    const error: AppError = await passwords.hash(password, email).then(
      () => Promise.reject(new Error('it was accepted')),
      (reason: AppError) => reason,
    )
    expect(error).toMatchObject({
      code: 'BAD_USER_INPUT',
      message: expect.stringMatching(message),
      details: expect.objectContaining({ field: 'input.password' }),
    })
    expect(error.suggestions).not.toEqual([])
    expect(JSON.stringify([error.message, error.details, error.suggestions])).not.toContain(password)
  })

  test.each([
    ['12 characters', 'G7#kd9Lm2!pQ'],
    ['128 characters beyond the BMP', '😀🦦🍀🎈'.repeat(32)],
  ])('is taken with %s', async (_what, password) => {
    const stored = await passwords.hash(password, email).catch((error: AppError) => error.details)
    expect(stored).toEqual(expect.stringMatching(/^v1:/))
  })
})

test('an unknown account takes as long to refuse as a wrong password', async () => {
  const slow = createPasswords({ keys, slots, strength, bcryptCost: 9 })
  const stored = await slow.hash(goodPassword, email)
  const verifyMs = async (value: string | null): Promise<number> => {
    const startedMs = performance.now()
    expect(await slow.verify('another password', value)).toBe(false)
    return performance.now() - startedMs
  }
  // In turns, and the fastest of each: what else the machine does slows both.
  const unknown: number[] = []
  const known: number[] = []
  for (let run = 0; run < 10; run += 1) {
    unknown.push(await verifyMs(null))
    known.push(await verifyMs(stored))
  }
  const ratio = Math.min(...unknown) / Math.min(...known)
  expect(ratio).toBeGreaterThan(0.5)
  expect(ratio).toBeLessThan(2)
})

test('too many hashes at once are refused with SERVER_BUSY, none is lost', async () => {
  const busy = createPasswords({
    keys,
    slots: createHashSlots({ maxRunning: 1, maxWaiting: 2, maxWaitMs: 10_000 }),
    strength,
    bcryptCost: 4,
  })
  const outcomes = await Promise.all(
    Array.from({ length: 5 }, () => busy.verify(goodPassword, null).catch((error: AppError) => error.code)),
  )
  expect(outcomes).toEqual([false, false, false, 'SERVER_BUSY', 'SERVER_BUSY'])
})
