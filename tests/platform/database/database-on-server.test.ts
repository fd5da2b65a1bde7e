import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { newId } from '../../../src/lib/ids.ts'
import { connectDatabase } from '../../../src/platform/database/connect-database.ts'
import type { ConnectDatabaseOptions } from '../../../src/platform/database/connect-database.ts'
import { createDatabase } from '../../../src/platform/database/create-database.ts'
import type { Database } from '../../../src/platform/database/database.ts'
import {
  isCheckViolation,
  isForeignKeyViolation,
  isUniqueViolation,
  sqlStateOf,
  translateDatabaseError,
} from '../../../src/platform/database/database-errors.ts'
import { findPostgres, startPostgresServer } from '../../support/postgres-server.ts'
import type { PostgresServer } from '../../support/postgres-server.ts'
import { databaseOptions } from '../../support/test-database.ts'

const programs = findPostgres()

describe.skipIf(programs === null)('on PostgreSQL', () => {
  let server: PostgresServer
  let url: string

  beforeAll(async () => {
    server = await startPostgresServer(programs ?? '')
    url = await server.createDatabase()
    const migrated = await createDatabase(databaseOptions({ url, dataDirectory: '' }))
    await migrated.prisma.featureFlag.createMany({ data: [flag('a'), flag('b')] })
    await migrated.close()
  })
  afterAll(() => server[Symbol.asyncDispose]())

  function connect(options: Partial<ConnectDatabaseOptions> = {}): Database & AsyncDisposable {
    const base = databaseOptions({ dataDirectory: '' })
    const db = connectDatabase({ ...base, kind: 'postgresql', connectionString: url, ...options })
    return { ...db, [Symbol.asyncDispose]: () => db.close() }
  }

  const flag = (key: string) => ({ key, enabled: true, rolloutPercent: 0 })
  const raise = (db: Database, key: string) =>
    db.prisma.featureFlag.update({ where: { key }, data: { rolloutPercent: { increment: 1 } } })
  const percentOf = async (db: Database, key: string) =>
    (await db.prisma.featureFlag.findUniqueOrThrow({ where: { key } })).rolloutPercent

  test('repeats a transaction that lost a deadlock', async () => {
    await using db = connect()
    let tries = 0
    const bothHaveOne = meeting(2)
    const update = (first: string, second: string) =>
      db.transaction(async (tx) => {
        tries++
        const data = { rolloutPercent: { increment: 1 } }
        await tx.featureFlag.update({ where: { key: first }, data })
        await bothHaveOne()
        await tx.featureFlag.update({ where: { key: second }, data })
      })
    const before = [await percentOf(db, 'a'), await percentOf(db, 'b')]
    await Promise.all([update('a', 'b'), update('b', 'a')])
    expect([await percentOf(db, 'a'), await percentOf(db, 'b')]).toEqual(before.map((percent) => percent + 2))
    expect(tries).toBe(3)
  })

  test('repeats a transaction that could not be serialized', async () => {
    await using db = connect()
    let tries = 0
    const before = await percentOf(db, 'a')
    await db.transaction(async (tx) => {
      await tx.$executeRaw`SET TRANSACTION ISOLATION LEVEL REPEATABLE READ`
      await tx.featureFlag.findMany()
      if (++tries === 1) await raise(db, 'a')
      await tx.featureFlag.update({ where: { key: 'a' }, data: { rolloutPercent: { increment: 1 } } })
    })
    expect(tries).toBe(2)
    expect(await percentOf(db, 'a')).toBe(before + 2)
  })

  test('gives up a collision that repeating does not solve, as SERVER_BUSY', async () => {
    await using db = connect()
    let tries = 0
    const attempt = db.transaction(
      (tx) => {
        tries++
        return tx.$executeRawUnsafe(`DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '40001'; END $$`)
      },
      { maxAttempts: 3 },
    )
    await expect(attempt).rejects.toMatchObject({ code: 'SERVER_BUSY' })
    expect(tries).toBe(3)
  })

  test('repeats a transaction whose connection was lost', async () => {
    await using db = connect()
    let tries = 0
    const before = await percentOf(db, 'a')
    await db.transaction(async (tx) => {
      await tx.featureFlag.update({ where: { key: 'a' }, data: { rolloutPercent: { increment: 1 } } })
      if (++tries === 1) await tx.$executeRaw`SELECT pg_terminate_backend(pg_backend_pid())`
    })
    expect(tries).toBe(2)
    expect(await percentOf(db, 'a')).toBe(before + 1)
  })

  test('repeats a statement after a lost connection only when it was told that it may', async () => {
    await using db = connect()
    const seen: string[] = []
    const once = await db
      .query({ name: 'kill', text: 'SELECT pg_terminate_backend(pg_backend_pid())' }, [])
      .catch((e) => e)
    expect(once).toMatchObject({ code: 'SERVICE_UNAVAILABLE' })
    await using counting = connect({ onStatement: (sql) => seen.push(sql) })
    const kill = { name: 'kill', text: 'SELECT pg_terminate_backend(pg_backend_pid())' }
    await expect(counting.query(kill, [], { retry: true })).rejects.toMatchObject({ code: 'SERVICE_UNAVAILABLE' })
    expect(seen).toHaveLength(4)
  })

  test('works on after the server was restarted', { timeout: 60_000 }, async () => {
    await using db = connect()
    await db.ping()
    await server.restart('immediate')
    expect(await db.query({ name: 'one', text: 'SELECT 1 AS one' }, [], { retry: true })).toEqual([{ one: 1 }])
    expect(await db.prisma.featureFlag.count()).toBe(2)
  })

  test('never has more connections than its pool may have', async () => {
    await using db = connect({ poolSize: 3 })
    const text = 'SELECT count(*) AS open, pg_sleep(0.02) FROM pg_stat_activity WHERE application_name = $1'
    const rows = await Promise.all(
      Array.from({ length: 30 }, () => db.query<{ open: number }>({ name: 'open', text }, ['monk'])),
    )
    const most = Math.max(...rows.map(([row]) => row?.open ?? 0))
    expect(most).toBe(3)
    expect(db.poolStats()).toEqual({ total: 3, idle: 3, waiting: 0, max: 3 })
  })

  test('gives up waiting for a connection', async () => {
    await using db = connect({ poolSize: 1, timeouts: { acquireMs: 1_000 } })
    await db.transaction(async (tx) => {
      await tx.featureFlag.count()
      await expect(db.ping()).rejects.toMatchObject({ code: 'SERVICE_UNAVAILABLE' })
      const failure = await db.prisma.featureFlag.count().catch((error: unknown) => error)
      expect(translateDatabaseError(failure)).toMatchObject({ code: 'SERVICE_UNAVAILABLE' })
    })
  })

  test('ends a statement that takes too long, on the server as well', async () => {
    await using db = connect({ poolSize: 1, timeouts: { statementMs: 100 } })
    const slow = { name: 'slow', text: 'SELECT pg_sleep(30)' }
    await expect(db.query(slow, [])).rejects.toMatchObject({ code: 'SERVICE_UNAVAILABLE' })
    const failure = await db.prisma.$queryRaw`SELECT pg_sleep(30)::text`.catch((error: unknown) => error)
    expect(translateDatabaseError(failure)).toMatchObject({ code: 'SERVICE_UNAVAILABLE' })
    expect(await db.ping()).toBeLessThan(5_000)
  })

  test('ends a transaction that waits too long for its next statement', async () => {
    await using db = connect({ timeouts: { idleInTransactionMs: 100 } })
    const attempt = db.transaction(
      async (tx) => {
        const rows = await tx.$queryRaw<{ pid: number }[]>`SELECT pg_backend_pid() AS pid`
        await gone(db, rows[0]?.pid ?? 0)
        await tx.featureFlag.count()
      },
      { maxAttempts: 1 },
    )
    await expect(attempt).rejects.toMatchObject({ code: 'SERVICE_UNAVAILABLE' })
  })

  test('recognises what a constraint refused, from Prisma, from raw SQL and from its own statements', async () => {
    await using db = connect()
    const id = newId()
    const failures = await Promise.all(
      [
        db.prisma.featureFlag.create({ data: flag('a') }),
        db.transaction((tx) => tx.$executeRaw`INSERT INTO feature_flag (key, enabled) VALUES ('a', true)`),
        db.query({ name: 'again', text: `INSERT INTO feature_flag (key, enabled) VALUES ('a', true)` }, []),
      ].map((attempt) => attempt.catch((error: unknown) => error)),
    )
    for (const failure of failures) {
      expect(isUniqueViolation(failure)).toBe(true)
      expect(isUniqueViolation(failure, 'feature_flag_pkey')).toBe(true)
      expect(isUniqueViolation(failure, 'another')).toBe(false)
      expect(sqlStateOf(failure)).toBe('23505')
      expect(translateDatabaseError(failure)).toBeNull()
    }
    const session = { id, userId: id, expiresAt: new Date() }
    const orphan = await db.prisma.session.create({ data: session }).catch((error: unknown) => error)
    expect(isForeignKeyViolation(orphan, 'session_user_id_fkey')).toBe(true)
    const wrong = { data: { ...flag('c'), rolloutPercent: 101 } }
    const refused = await db.prisma.featureFlag.create(wrong).catch((error: unknown) => error)
    expect(isCheckViolation(refused, 'feature_flag_rollout_range')).toBe(true)
  })

  test('refuses at once a server that it may not use, and waits for one that is not there', async () => {
    const stranger = url.replace('postgres@', 'nobody@')
    await expect(createDatabase(databaseOptions({ url: stranger, dataDirectory: '' }))).rejects.toThrow('nobody')
    const nowMs = [0, 10_000, 20_000, 31_000]
    const clock = { now: () => new Date(), monotonicMs: () => nowMs.shift() ?? 40_000 }
    const nowhere = databaseOptions({ url: 'postgresql://127.0.0.1:1/x', dataDirectory: '', clock })
    const attempt = createDatabase({ ...nowhere, logger: nowhere.logger.child({}, { level: 'silent' }) })
    await expect(attempt).rejects.toMatchObject({ code: 'SERVICE_UNAVAILABLE' })
  })

  // Polled, because a lost connection tells nobody.
  async function gone(db: Database, pid: number): Promise<void> {
    const deadline = performance.now() + 10_000
    for (;;) {
      const text = 'SELECT count(*) AS count FROM pg_stat_activity WHERE pid = $1'
      const [row] = await db.query<{ count: number }>({ name: 'gone', text }, [pid])
      if (row?.count === 0) return
      if (performance.now() > deadline) throw new Error(`the backend ${pid} is still there after 10 s`)
    }
  }
})

/** Resolves for everybody when `size` have come. */
function meeting(size: number): () => Promise<void> {
  let open: () => void = () => {}
  const opened = new Promise<void>((resolve) => (open = resolve))
  let come = 0
  return () => {
    if (++come >= size) open()
    return opened
  }
}
