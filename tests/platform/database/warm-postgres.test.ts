import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { makeDataDirectory, type DataDirectory } from '../../support/data-directory.ts'
import { readCatalogue, startWarmPostgres } from '../../support/warm-postgres.ts'

let directory: DataDirectory

beforeAll(async () => {
  directory = await makeDataDirectory()
})
afterAll(() => directory[Symbol.asyncDispose]())

async function use<T>(work: (client: pg.Client) => Promise<T>): Promise<T> {
  const onCrash = (error: Error): never => {
    throw error
  }
  const postgres = await startWarmPostgres({ ...directory, idleInTransactionMs: 20_000, onCrash })
  const client = new pg.Client({ connectionString: postgres.connectionString })
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.end()
    await postgres.close()
  }
}

/** Which Postgres it is (a new one has begun at another time), and what is to be found in it. */
async function look(client: pg.Client): Promise<unknown> {
  const { rows } =
    await client.query(`SELECT pg_postmaster_start_time()::text AS started, current_setting('timezone') AS zone,
    (SELECT count(*)::int FROM app_user) AS users, (SELECT count(*)::int FROM audit_event) AS events`)
  return rows[0]
}

const addUsers = (count: number): string =>
  `INSERT INTO app_user (id, email, password_hash) SELECT gen_random_uuid(), n, repeat('x', 500) FROM generate_series(1, ${count}) n`
const addEvent = "INSERT INTO audit_event (id, action) VALUES (gen_random_uuid(), 'TEST')"

/** How it looked before these statements, and how it looks to whoever comes next. */
async function leaveBehind(...statements: string[]): Promise<{ before: unknown; after: unknown }> {
  const before = await use(async (client) => {
    const appearance = await look(client)
    for (const statement of statements) await client.query(statement)
    return appearance
  })
  return { before, after: await use(look) }
}

describe('the Postgres that tests share', () => {
  test.each([3, 3_000])('is the same for the next, without the %i rows and the settings of the last', async (count) => {
    const { before, after } = await leaveBehind(addUsers(count), addEvent, "SET timezone = 'Asia/Tokyo'")
    expect(before).toMatchObject({ users: 0, events: 0 })
    expect(after).toEqual(before)
  })

  test('is not lent again once it is not as it was', async () => {
    const { before, after } = await leaveBehind('CREATE TABLE remains ()')
    expect(after).not.toMatchObject({ started: Reflect.get(Object(before), 'started') })
    expect(after).toMatchObject({ users: 0, events: 0 })
  })

  test.each([
    'CREATE TEMP TABLE remains ()',
    'DROP TRIGGER audit_event_insert_only ON audit_event',
    'ALTER TABLE app_user ALTER COLUMN email DROP NOT NULL',
    'ALTER TABLE app_user ADD CONSTRAINT remains CHECK (true)',
    'DROP INDEX audit_event_at_id_idx',
    'CREATE OR REPLACE FUNCTION audit_event_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$',
    'ALTER ROLE postgres SET work_mem = 1024',
    `${addEvent}; ANALYZE audit_event`,
  ])('is not as it was after %s', async (statement) => {
    await use(async (client) => {
      const before = await readCatalogue(client)
      await client.query('BEGIN')
      await client.query(statement)
      const after = await readCatalogue(client)
      await client.query('ROLLBACK')
      expect(after).not.toBe(before)
    })
  })
})
