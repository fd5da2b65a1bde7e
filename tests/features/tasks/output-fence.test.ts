import { setImmediate as turn } from 'node:timers/promises'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { newId } from '../../../src/lib/ids.ts'
import { createLogger } from '../../../src/platform/logger.ts'
import { createOutputWriter } from '../../../src/features/tasks/output/output-writer.ts'
import { findPostgres, startPostgresServer, type PostgresServer } from '../../support/postgres-server.ts'
import { startTestDatabase, type TestDatabase } from '../../support/test-database.ts'
import { createTaskFixture } from './streams-fixture.ts'
import { inTime } from './streams-harness.ts'

const programs = findPostgres()

describe.skipIf(programs === null)('on a PostgreSQL server', () => {
  let server: PostgresServer
  let db: TestDatabase
  let url: string
  beforeAll(async () => {
    server = await startPostgresServer(programs ?? '')
    url = await server.createDatabase()
    db = await startTestDatabase({ url })
  })
  afterAll(async () => {
    await db[Symbol.asyncDispose]()
    await server[Symbol.asyncDispose]()
  })

  test('a take-over that is not committed yet lets no stale write through', async () => {
    const fixture = await createTaskFixture(db)
    const taskId = await fixture.submit()
    const run = await fixture.claim()
    let isStale = (): void => undefined
    const stale = new Promise<void>((resolve) => (isStale = resolve))
    const logger = createLogger({ level: 'error' })
    const publisher = { publishOutput: async () => undefined }
    const writer = createOutputWriter({ db, publisher, logger, random: Math.random })
    const other = new pg.Client({ connectionString: url })
    await other.connect()
    try {
      await other.query('BEGIN')
      await other.query('UPDATE task SET lease_token = $2 WHERE id = $1', [taskId, newId()])
      const output = writer.open({ ...run, taskId, attempt: 1, onStale: isStale })
      output.begin('m', null)
      output.append('stale')
      await untilWaiting(other)
      await other.query('COMMIT')
      await inTime(stale, () => 'the write to be refused')

      expect(await output.finish()).toEqual({ segment: null, tail: null })
      expect(await db.prisma.outputChunk.count({ where: { taskId } })).toBe(0)
      expect(await db.prisma.outputSegment.count({ where: { taskId } })).toBe(0)
    } finally {
      await other.end()
      await writer.close()
    }
  })
})

/** Until another connection waits for a lock. */
async function untilWaiting(client: pg.Client): Promise<void> {
  for (const deadlineMs = performance.now() + 5_000; performance.now() < deadlineMs; await turn()) {
    const { rowCount } = await client.query('SELECT 1 FROM pg_locks WHERE NOT granted')
    if (rowCount !== 0) return
  }
  throw new Error('no write waited for the take-over within 5 s')
}
