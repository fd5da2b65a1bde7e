import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { WrongSecretError } from '../../../src/features/accounts/key-encryption.ts'
import { openKeyRows, type KeyRows } from '../../../src/features/accounts/key-rows.ts'
import { newId } from '../../../src/lib/ids.ts'
import { createLogger } from '../../../src/platform/logger.ts'
import { startTestDatabase } from '../../support/test-database.ts'
import { manualClock, secret } from './account-fixtures.ts'

const db = await startTestDatabase()
afterAll(() => db[Symbol.asyncDispose]())

const opened: KeyRows[] = []
async function open(withSecret = secret): Promise<KeyRows> {
  const logger = createLogger({ level: 'silent' })
  const keys = await openKeyRows({ db, secret: withSecret, clock: manualClock(), newId, logger })
  opened.push(keys)
  return keys
}

describe('key rows', () => {
  beforeEach(async () => {
    await db.prisma.keyRow.deleteMany()
  })
  afterAll(async () => {
    await Promise.all(opened.map((keys) => keys.close()))
  })

  test('are made at the first start, one CURRENT for each purpose, and kept', async () => {
    const keys = await open()
    const rows = await db.prisma.keyRow.findMany({ orderBy: { purpose: 'asc' } })
    expect(rows.map(({ purpose, state }) => [purpose, state])).toEqual([
      ['JWT_SIGNING', 'CURRENT'],
      ['CSRF', 'CURRENT'],
      ['REFRESH', 'CURRENT'],
      ['PEPPER', 'CURRENT'],
    ])
    const again = await open()
    expect(await db.prisma.keyRow.count()).toBe(4)
    expect(again.current('PEPPER')).toEqual(keys.current('PEPPER'))
  })

  test('are made once by processes that start at the same moment', async () => {
    const processes = await Promise.all(Array.from({ length: 6 }, () => open()))
    expect(await db.prisma.keyRow.count()).toBe(4)
    expect(new Set(processes.map((keys) => keys.current('JWT_SIGNING').id)).size).toBe(1)
  })

  test('hold nothing that can be read without the secret', async () => {
    const keys = await open()
    const text = JSON.stringify(await db.prisma.keyRow.findMany())
    for (const purpose of ['CSRF', 'REFRESH', 'PEPPER'] as const) {
      const { material } = keys.current(purpose)
      if (material.kind !== 'symmetric') throw new Error('expected a symmetric key')
      for (const encoding of ['base64', 'base64url', 'hex'] as const)
        expect(text).not.toContain(material.bytes.toString(encoding))
    }
    const { material } = keys.current('JWT_SIGNING')
    if (material.kind !== 'signing') throw new Error('expected a signing key')
    const { d, x } = material.privateKey.export({ format: 'jwk' })
    expect(text).not.toContain(d)
    expect(text).toContain(x)
  })

  test('refuse a start with another secret, and stay as they are', async () => {
    await open()
    const before = await db.prisma.keyRow.findMany()
    await expect(open('another secret that is long enough too')).rejects.toThrow(WrongSecretError)
    expect(await db.prisma.keyRow.findMany()).toEqual(before)
  })

  test('refuse a start when a value was moved to another row', async () => {
    await open()
    const { encryptedValue } = await db.prisma.keyRow.findFirstOrThrow({ where: { purpose: 'REFRESH' } })
    await db.prisma.keyRow.updateMany({ where: { purpose: 'PEPPER' }, data: { encryptedValue } })
    await expect(open()).rejects.toThrow('cannot be read')
  })

  test('verify in every state but RETIRED, after the next reading', async () => {
    const keys = await open()
    const first = keys.current('PEPPER')
    await db.prisma.keyRow.updateMany({ where: { purpose: 'PEPPER' }, data: { state: 'RETIRING' } })
    await open()
    await keys.reload()
    const second = keys.current('PEPPER')
    expect(second.id).not.toBe(first.id)
    expect(keys.find('PEPPER', first.id)).toEqual({ ...first, state: 'RETIRING' })
    expect(keys.find('REFRESH', first.id)).toBeNull()

    await db.prisma.keyRow.update({ where: { id: first.id }, data: { state: 'RETIRED' } })
    await keys.reload()
    expect(keys.find('PEPPER', first.id)).toBeNull()
    expect(keys.usable('PEPPER').map(({ id }) => id)).toEqual([second.id])
  })
})
