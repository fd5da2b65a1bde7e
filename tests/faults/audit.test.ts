import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../src/lib/clock.ts'
import { newId } from '../../src/lib/ids.ts'
import { sleep } from '../../src/lib/sleep.ts'
import { createDatabase } from '../../src/platform/database/create-database.ts'
import { createLogger } from '../../src/platform/logger.ts'
import { findPostgres, startPostgresServer, type PostgresServer } from '../support/postgres-server.ts'
import { seedAgent } from '../support/seed.ts'
import { auditRows } from './audit.ts'

const programs = findPostgres()

/** What is done to rows that are as they should be, and the rule that must notice. */
const breaches: readonly (readonly [string, string])[] = [
  ['the events of a task are numbered from 1 to its version', `DELETE FROM task_event WHERE version = 2`],
  ['the feed of a workspace is numbered from 1 to its counter', `UPDATE workspace_counter SET feed_seq = feed_seq + 1`],
  ['the attempts of a task are numbered from 1 to its latest', `UPDATE task SET attempt = attempt + 1`],
  ['the last event of a task says the status that it has', `UPDATE task SET status = 'FAILED'`],
  [
    'a task goes from one state to another as the state machine says',
    `UPDATE task_event SET status = 'SUCCEEDED' WHERE version = 3`,
  ],
  [
    'each start of a run is the next attempt, and nothing is said of an earlier one after it',
    `UPDATE task_event SET attempt = 1 WHERE version = 5`,
  ],
  [
    'an attempt begins when the one before it has ended',
    `UPDATE task_attempt SET finished_at = finished_at + interval '1 hour' WHERE number = 1`,
  ],
  [
    'a task has a lease and an attempt under way when it is running, and only then',
    `UPDATE task_attempt SET status = 'RUNNING' WHERE number = 1`,
  ],
  ['every attempt that has ended counts, but those that were given back', `UPDATE task SET attempts_used = 0`],
  [
    'a task has succeeded when its last attempt has, and after that there is none',
    `UPDATE task_attempt SET status = 'SUCCEEDED'`,
  ],
  ['an attempt that succeeded has its call and the usage of it in the ledger', `DELETE FROM usage_record`],
  [
    'segments of output belong to ever later attempts',
    `INSERT INTO output_segment (task_id, segment, attempt, length) SELECT id, 3, 1, 5 FROM task WHERE attempt = 2`,
  ],
  [
    'chunks of output are those of the latest segment, without a gap',
    `INSERT INTO output_chunk (task_id, segment, start_offset, length, text)
     SELECT id, 2, start, 5, 'Hello' FROM task, unnest(ARRAY[0, 6]) AS start WHERE attempt = 2`,
  ],
  [
    'a task that has ended has no chunks of output',
    `INSERT INTO output_chunk (task_id, segment, start_offset, length, text) SELECT id, 2, 0, 5, 'Hello' FROM task WHERE attempt = 2`,
  ],
  [
    'a task begins when all that it depends on has ended',
    `INSERT INTO task_dependency (task_id, depends_on_id, position)
     SELECT a.id, b.id, 0 FROM task a, task b WHERE a.status = 'SUCCEEDED' AND b.status = 'FAILED'`,
  ],
  ['every task has ended', `UPDATE task SET finished_at = NULL`],
  [
    'a task follows its policy when something that it depends on did not succeed',
    `INSERT INTO task_dependency (task_id, depends_on_id, position)
     SELECT a.id, b.id, 0 FROM task a, task b WHERE a.status = 'SUCCEEDED' AND b.status = 'FAILED'`,
  ],
  ['the last segment of an ended task is its output', `UPDATE task_content SET output = 'Hello!'`],
  ['the output of a task that succeeded is of its last attempt', `UPDATE output_segment SET attempt = 1`],
]

describe.skipIf(programs === null)('the audit of rows', () => {
  let postgres: PostgresServer
  let template: string
  let count = 0

  beforeAll(async () => {
    if (programs === null) throw new Error('the suite is skipped without its programs')
    postgres = await startPostgresServer(programs)
    template = await postgres.createDatabase()
    await writeHistory(template)
  })

  afterAll(() => postgres[Symbol.asyncDispose]())

  /** A database of its own with the history and what `breach` does to it. */
  async function audited(breach: string): Promise<readonly string[]> {
    const url = new URL(template)
    url.pathname = `/audited_${(count += 1)}`
    await execute(postgres.url, `CREATE DATABASE audited_${count} TEMPLATE ${new URL(template).pathname.slice(1)}`)
    await execute(url.href, breach)
    return (await auditRows(url.href, { isAtRest: true })).problems
  }

  test('finds nothing in rows that are as they should be', async () => {
    expect(await audited('SELECT 1')).toEqual([])
  })

  test.each(breaches)('notices when it does not hold that %s', async (rule, breach) => {
    expect(await audited(breach)).toContainEqual(expect.stringContaining(rule))
  })
})

async function execute(url: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    await client.query(statement)
  } finally {
    await client.end()
  }
}

/** A task that was given back and then succeeded, and one that failed after it. */
async function writeHistory(url: string): Promise<void> {
  const db = await createDatabase({
    url,
    dataDirectory: '',
    poolSize: 1,
    clock: systemClock,
    logger: createLogger({ level: 'silent' }),
    random: Math.random,
    sleep,
    onCrash: () => undefined,
  })
  try {
    const { id: agentId, workspaceId } = await seedAgent(db)
    const task = { agentId, workspaceId, maxAttempts: 3, timeoutMs: 1_000, queuedAt: at(0), startedAt: at(1) }
    const [succeeded, failed, call] = [newId(), newId(), newId()]
    const event = (taskId: string, version: number) => ({ taskId, version, workspaceId, at: at(version) })
    await db.prisma.task.createMany({
      data: [
        { ...task, id: succeeded, status: 'SUCCEEDED', version: 5, attempt: 2, attemptsUsed: 1, finishedAt: at(5) },
        { ...task, id: failed, status: 'FAILED', version: 3, attempt: 1, attemptsUsed: 1, finishedAt: at(8) },
      ],
    })
    await db.prisma.taskContent.createMany({
      data: [
        { taskId: succeeded, prompt: 'Go.', output: 'Hello' },
        { taskId: failed, prompt: 'Go.' },
      ],
    })
    await db.prisma.taskAttempt.createMany({
      data: [
        { taskId: succeeded, number: 1, status: 'RELEASED', agentVersion: 1, startedAt: at(1), finishedAt: at(2) },
        { taskId: succeeded, number: 2, status: 'SUCCEEDED', agentVersion: 1, startedAt: at(3), finishedAt: at(4) },
        { taskId: failed, number: 1, status: 'FAILED', agentVersion: 1, startedAt: at(7), finishedAt: at(8) },
      ],
    })
    await db.prisma.taskEvent.createMany({
      data: [
        { ...event(succeeded, 1), seq: 1, type: 'CREATED', status: 'QUEUED', attempt: 0 },
        { ...event(succeeded, 2), seq: 2, type: 'STARTED', status: 'RUNNING', attempt: 1 },
        { ...event(succeeded, 3), seq: 3, type: 'RELEASED', status: 'QUEUED', attempt: 1 },
        { ...event(succeeded, 4), seq: 4, type: 'STARTED', status: 'RUNNING', attempt: 2 },
        { ...event(succeeded, 5), seq: 5, type: 'SUCCEEDED', status: 'SUCCEEDED', attempt: 2 },
        { ...event(failed, 1), seq: 6, type: 'CREATED', status: 'QUEUED', attempt: 0 },
        { ...event(failed, 2), seq: 7, type: 'STARTED', status: 'RUNNING', attempt: 1 },
        { ...event(failed, 3), seq: 8, type: 'FAILED', status: 'FAILED', attempt: 1 },
      ],
    })
    await db.prisma.workspaceCounter.update({ where: { workspaceId }, data: { feedSeq: 8 } })
    await db.prisma.outputSegment.createMany({
      data: [
        { taskId: succeeded, segment: 1, attempt: 1 },
        { taskId: succeeded, segment: 2, attempt: 2, length: 5 },
      ],
    })
    const made = { id: call, taskId: succeeded, attemptNumber: 2, model: 'p/m' }
    await db.prisma.modelAttempt.create({ data: { ...made, outcome: 'succeeded', durationMs: 1 } })
    const tokens = { inputTokens: 1, cachedInputTokens: 0, outputTokens: 1, reasoningTokens: 0 }
    await db.prisma.usageRecord.create({ data: { ...made, ...tokens, workspaceId, estimated: false } })
  } finally {
    await db.close()
  }
}

const at = (seconds: number): Date => new Date(Date.UTC(2026, 0, 1) + seconds * 1_000)
