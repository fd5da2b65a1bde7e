import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { newId } from '../../../src/lib/ids.ts'
import { isUniqueViolation } from '../../../src/platform/database/database-errors.ts'
import { startTestDatabase } from '../../support/test-database.ts'
import type { TestDatabase } from '../../support/test-database.ts'

const user = (email: string) => ({ id: newId(), email, passwordHash: 'x' })

let db: TestDatabase
beforeAll(async () => void (db = await startTestDatabase()))
afterEach(async () => void (await db.prisma.user.deleteMany()))
afterAll(() => db[Symbol.asyncDispose]())

test('runs Prisma and hand-written statements over the same one connection', async () => {
  const created = await db.prisma.user.create({ data: user('ada@example.org') })
  const rows = await db.query<{ id: string; created_at: Date }>(
    { name: 'user-by-email', text: 'SELECT id, created_at FROM app_user WHERE email = $1' },
    ['ada@example.org'],
  )
  expect(rows).toEqual([{ id: created.id, created_at: created.createdAt }])
  expect(db.poolStats()).toEqual({ total: 1, idle: 1, waiting: 0, max: 1 })
  expect(await db.ping()).toBeGreaterThan(0)
})

test('keeps its connection after a statement that failed', async () => {
  const backend = { name: 'prepared', text: 'SELECT count(*) AS count FROM pg_prepared_statements' }
  await db.prisma.user.create({ data: user('ada@example.org') })
  const before = await db.query<{ count: number }>(backend, [])
  for (let i = 0; i < 3; i++) {
    const failure = await db.prisma.user.create({ data: user('ada@example.org') }).catch((error: unknown) => error)
    expect(isUniqueViolation(failure, 'app_user_email_key')).toBe(true)
    await expect(db.query({ name: 'broken', text: 'SELECT nothing FROM app_user' }, [])).rejects.toThrow('nothing')
  }
  expect(await db.query(backend, [])).toEqual(before)
})

test('reads bigint as a number, and refuses one that a number cannot hold', async () => {
  const echo = { name: 'echo', text: 'SELECT $1::int8 AS value' }
  expect(await db.query(echo, ['9007199254740991'])).toEqual([{ value: 9_007_199_254_740_991 }])
  await expect(db.query(echo, ['9007199254740992'])).rejects.toThrow(RangeError)
})

test('reads timestamps without a zone as UTC, and Prisma still reads bigint as bigint', async () => {
  const rows = await db.query({ name: 'utc', text: `SELECT timestamp '2026-01-02 03:04:05.678' AS at` }, [])
  expect(rows).toEqual([{ at: new Date('2026-01-02T03:04:05.678Z') }])
  expect(await db.prisma.$queryRaw`SELECT 5::int8 AS value`).toEqual([{ value: 5n }])
})

test('rolls back a transaction that throws, and throws the same error', async () => {
  const failure = new Error('no')
  const attempt = db.transaction(async (tx) => {
    await tx.user.create({ data: user('ada@example.org') })
    throw failure
  })
  await expect(attempt).rejects.toBe(failure)
  expect(await db.prisma.user.count()).toBe(0)
})

test('gives up a statement that takes too long, and works on when it has ended', async () => {
  await using own = await startTestDatabase({ timeouts: { statementMs: 100, acquireMs: 25_000 } })
  const slow = { name: 'slow', text: 'SELECT count(*) FROM generate_series(1, 2000000)' }
  await expect(own.query(slow, [])).rejects.toMatchObject({ code: 'SERVICE_UNAVAILABLE' })
  expect(await own.ping()).toBeGreaterThan(0)
})

test('gives up waiting for the connection, which one transaction holds', async () => {
  await using own = await startTestDatabase({ timeouts: { acquireMs: 100 } })
  await own.transaction(async (tx) => {
    await tx.user.count()
    await expect(own.ping()).rejects.toMatchObject({
      code: 'SERVICE_UNAVAILABLE',
      message: 'The database took too long.',
    })
    await expect(own.transaction((inner) => inner.user.count())).rejects.toMatchObject({ code: 'SERVICE_UNAVAILABLE' })
  })
  expect(own.poolStats()).toEqual({ total: 1, idle: 1, waiting: 0, max: 1 })
})

test('ends a transaction that takes longer than it may, and rolls it back', async () => {
  const attempt = db.transaction(
    async (tx) => {
      await tx.user.create({ data: user('ada@example.org') })
      await tx.$queryRaw`SELECT count(*) FROM generate_series(1, 1000000)`
    },
    { timeoutMs: 100 },
  )
  await expect(attempt).rejects.toMatchObject({ code: 'SERVICE_UNAVAILABLE' })
  expect(await db.prisma.user.count()).toBe(0)
})

test('tells of every statement', async () => {
  const seen: string[] = []
  await using own = await startTestDatabase({ onStatement: (sql) => seen.push(sql) })
  await own.prisma.user.count()
  await own.ping()
  expect(seen).toEqual([expect.stringContaining('app_user'), 'SELECT 1'])
})
