import { closeSync, readdirSync, readlinkSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createDatabase } from '../../../src/platform/database/create-database.ts'
import { findLockOwner } from '../../../src/platform/database/data-directory-lock.ts'
import { connectionStringOf, startEmbeddedPostgres } from '../../../src/platform/database/embedded-postgres.ts'
import { startChildProcess } from '../../support/child-process.ts'
import { copyTemplateDataDirectory, makeDataDirectory } from '../../support/data-directory.ts'
import { databaseOptions } from '../../support/test-database.ts'
import type { DataDirectory } from '../../support/data-directory.ts'

const inserter = new URL('fixtures/insert-for-ever.ts', import.meta.url)

async function connect(connectionString: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString })
  client.on('error', () => {})
  await client.connect()
  return client
}

async function startCopy(options: { dataDirectory: string; idleInTransactionMs?: number }) {
  let crashed: (error: Error) => void = () => {}
  const crash = new Promise<Error>((resolve) => (crashed = resolve))
  const postgres = await startEmbeddedPostgres({ idleInTransactionMs: 60_000, ...options, onCrash: (e) => crashed(e) })
  return { ...postgres, crash, [Symbol.asyncDispose]: () => postgres.close() }
}

// For tests that leave it as it was.
let shared: Awaited<ReturnType<typeof startCopy>>
let sharedData: DataDirectory
beforeAll(async () => {
  sharedData = await copyTemplateDataDirectory()
  shared = await startCopy(sharedData)
})
afterAll(async () => {
  await shared.close()
  await sharedData[Symbol.asyncDispose]()
})

test('loses nothing that was acknowledged when its process is killed', { timeout: 60_000 }, async () => {
  await using data = await copyTemplateDataDirectory()
  for (let round = 1; round <= 2; round++) {
    await using writer = startChildProcess(inserter, [data.dataDirectory])
    let acknowledged = -1
    while (acknowledged < 100) acknowledged = Number(await writer.nextLine())
    writer.kill('SIGKILL')
    await writer.ended

    const db = await createDatabase(databaseOptions(data))
    const emails = await db.prisma.user.findMany({ select: { email: true } })
    const numbers = emails.map(({ email }) => Number(email)).toSorted((a, b) => a - b)
    expect(numbers.slice(0, acknowledged + 1)).toEqual(Array.from({ length: acknowledged + 1 }, (_, index) => index))
    await db.prisma.user.deleteMany()
    await db.close()
  }
})

test('writes to the disk before it acknowledges', async () => {
  const client = await connect(shared.connectionString)
  const { rows } = await client.query(
    `SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit', 'wal_sync_method') ORDER BY name`,
  )
  await client.end()
  expect(rows).toEqual([
    { name: 'fsync', setting: 'on' },
    { name: 'synchronous_commit', setting: 'on' },
    { name: 'wal_sync_method', setting: 'fsync' },
  ])
})

test('never lets the statements of two connections mix', async () => {
  const clients = await Promise.all([1, 2, 3].map(() => connect(shared.connectionString)))
  const answers = await Promise.all(
    clients.map(async (client, which) => {
      const seen: unknown[] = []
      for (let i = 0; i < 50; i++) {
        const unnamed = await client.query('SELECT $1::int AS which, $2::text AS text', [which, `${which}/${i}`])
        const named = await client.query({ name: 'same', text: `SELECT $1::int + ${which} AS sum`, values: [i] })
        seen.push(unnamed.rows[0], named.rows[0])
      }
      return seen
    }),
  )
  await Promise.all(clients.map((client) => client.end()))
  for (const [which, seen] of answers.entries()) {
    const expected = Array.from({ length: 50 }, (_, i) => [{ which, text: `${which}/${i}` }, { sum: i + which }]).flat()
    expect(seen).toEqual(expected)
  }
})

test('keeps a transaction apart from other connections', async () => {
  const [one, other] = [await connect(shared.connectionString), await connect(shared.connectionString)]
  await one.query(`BEGIN; INSERT INTO feature_flag (key, enabled) VALUES ('a', true)`)
  const counting = other.query('SELECT count(*)::int AS count FROM feature_flag')
  await one.query(`INSERT INTO feature_flag (key, enabled) VALUES ('b', true)`)
  await one.query('ROLLBACK')
  expect((await counting).rows).toEqual([{ count: 0 }])
  await Promise.all([one.end(), other.end()])
})

test('rolls back and forgets what a connection leaves behind', async () => {
  const leaving = await connect(shared.connectionString)
  await leaving.query({ name: 'left', text: 'SELECT $1::int', values: [1] })
  await leaving.query(`BEGIN; INSERT INTO feature_flag (key, enabled) VALUES ('a', true)`)
  await leaving.end()
  const next = await connect(shared.connectionString)
  expect((await next.query('SELECT name FROM pg_prepared_statements')).rows).toEqual([])
  expect((await next.query('SELECT key FROM feature_flag')).rows).toEqual([])
  await next.end()
})

test('does not let COPY FROM STDIN, which it cannot do, end it for everybody', async () => {
  const [copying, other] = [await connect(shared.connectionString), await connect(shared.connectionString)]
  await expect(copying.query('COPY feature_flag FROM STDIN')).rejects.toThrow('Connection terminated')
  expect((await other.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
  await other.end()
})

test('cuts off a connection that leaves a transaction open', async () => {
  await using data = await copyTemplateDataDirectory()
  await using postgres = await startCopy({ ...data, idleInTransactionMs: 100 })
  const [idle, other] = [await connect(postgres.connectionString), await connect(postgres.connectionString)]
  const cut = new Promise<void>((resolve) => idle.once('end', () => resolve()))
  await idle.query('BEGIN')
  expect((await other.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
  await cut
  await other.end()
})

test('refuses a second server on the same data, and lets commands find the first', async () => {
  await using data = await copyTemplateDataDirectory()
  await using first = await startCopy(data)
  await expect(startCopy(data)).rejects.toThrow(data.dataDirectory)
  first.announce()
  const owner = await findLockOwner(data.dataDirectory)
  const command = await connect(connectionStringOf(owner?.socketFolder ?? ''))
  expect((await command.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
  await command.end()
})

test('says so when it breaks while it runs', async () => {
  await using data = await copyTemplateDataDirectory()
  const postgres = await startCopy(data)
  const client = await connect(postgres.connectionString)
  const insert = `INSERT INTO feature_flag (key, enabled) VALUES (gen_random_uuid()::text, true)`
  await client.query(insert)
  // As a broken disk would: its log of writes cannot be synced any more.
  for (const descriptor of openFiles(join(data.dataDirectory, 'pg/pg_wal'))) closeSync(descriptor)
  const statement = client.query(insert).catch((error: unknown) => error)
  expect(String(await postgres.crash)).toContain('The embedded Postgres stopped')
  expect(await statement).toBeInstanceOf(Error)
  await expect(postgres.close()).rejects.toThrow()
})

test('says why it cannot start', async () => {
  await using data = await makeDataDirectory()
  await mkdir(join(data.dataDirectory, 'pg'))
  await writeFile(join(data.dataDirectory, 'pg/PG_VERSION'), '17\n')
  await expect(startCopy(data)).rejects.toThrow('is of PostgreSQL 17')
  // And the directory is free again.
  expect(await findLockOwner(data.dataDirectory)).toBeNull()
})

function openFiles(folder: string): number[] {
  return readdirSync('/proc/self/fd')
    .map(Number)
    .filter((descriptor) => {
      try {
        return readlinkSync(`/proc/self/fd/${descriptor}`).startsWith(folder)
      } catch {
        return false
      }
    })
}
