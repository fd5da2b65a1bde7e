import { setTimeout as delay } from 'node:timers/promises'
import { Redis } from 'ioredis'
import pg from 'pg'
import { describe, expect, test } from 'vitest'
import { findClusterPrograms, startCluster, type Cluster } from '../support/cluster.ts'
import { createSubmitter, rowId } from '../support/first-task.ts'
import { startModelServer, type ModelServer } from '../support/model-server.ts'
import { answerText, slowAnswer } from '../support/slow-answers.ts'
import { createReader } from '../support/task-reader.ts'
import { until } from '../support/until.ts'

const programs = findClusterPrograms()
/** From the kill to the task running again. */
const recoveryLimitMs = 20_000

describe.skipIf(programs === null)('two API and two worker processes', () => {
  test('a task created on one API is watched on the other, and goes on when its worker is killed', async () => {
    await using models = await startModelServer()
    await using cluster = await startTestCluster(models)
    const [first, second] = cluster.apis
    if (first === undefined || second === undefined) throw new Error('two APIs were asked for')
    answerEach(models, 80)
    const { token, submit } = await createSubmitter(first.client)
    const taskId = await submit(first.client)
    const reader = createReader(taskId)
    await reader.read(second.client, token, ({ text }) => text.length > 60)
    expect(answerText('answer-1').startsWith(reader.text)).toBe(true)

    await cluster.workerOf(rowId(taskId)).kill('SIGKILL')
    const killedAtMs = performance.now()
    await reader.read(second.client, token, ({ statuses }) => statuses.includes('RUNNING'))
    expect(performance.now() - killedAtMs).toBeLessThan(recoveryLimitMs)
    await reader.read(second.client, token)

    expect(reader.statuses).toEqual(['QUEUED', 'RUNNING', 'SUCCEEDED'])
    expect(reader.text).toBe(answerText('answer-2'))
  })

  test('Redis forgets everything, Redis restarts, PostgreSQL restarts: nothing is lost, nothing comes twice', async () => {
    await using models = await startModelServer()
    await using cluster = await startTestCluster(models)
    const [first, second] = cluster.apis
    if (first === undefined || second === undefined) throw new Error('two APIs were asked for')
    answerEach(models, 60)
    const { token, submit } = await createSubmitter(first.client, { concurrency: 6 })
    const taskIds = await Promise.all(Array.from({ length: 18 }, () => submit(first.client)))
    const readers = taskIds.map((taskId, index) => ({
      reader: createReader(taskId),
      client: (index % 2 ? first : second).client,
    }))
    const allRead = Promise.all(
      readers.map(({ reader, client }) => readThrough(reader, () => reader.read(client, token))),
    )

    await until(
      'some are running',
      () => countBy(cluster, 'RUNNING'),
      (count) => count >= 6,
    )
    await flushAll(cluster)
    await until(
      'some have ended',
      () => countBy(cluster, 'SUCCEEDED'),
      (count) => count >= 3,
      60_000,
    )
    await cluster.redis.restart()
    await until(
      'more have ended',
      () => countBy(cluster, 'SUCCEEDED'),
      (count) => count >= 8,
      60_000,
    )
    await cluster.postgres.restart('immediate')
    await allRead

    const audit = await auditRows(cluster)
    expect(audit.map(({ status }) => status)).toEqual(taskIds.map(() => 'SUCCEEDED'))
    for (const { reader } of readers) {
      expect(reader.statuses.at(-1)).toBe('SUCCEEDED')
      const label = /^answer-\d+/.exec(reader.text)?.[0] ?? ''
      expect(reader.text).toBe(answerText(label))
    }
    expect(audit.map(({ output }) => output).toSorted()).toEqual(readers.map(({ reader }) => reader.text).toSorted())
  })

  test('a worker that was stopped for longer than its lease writes not one byte more', async () => {
    await using models = await startModelServer()
    await using cluster = await startTestCluster(models, { LEASE_MS: '2000' })
    const [api] = cluster.apis
    if (api === undefined) throw new Error('two APIs were asked for')
    answerEach(models, 50)
    const { token, submit } = await createSubmitter(api.client)
    const taskId = await submit(api.client)
    const reader = createReader(taskId)
    await reader.read(api.client, token, ({ text }) => text.length > 60)
    const paused = cluster.workerOf(rowId(taskId))

    process.kill(paused.pid, 'SIGSTOP')
    await reader.read(api.client, token)
    expect(reader.text).toBe(answerText('answer-2'))
    const before = await auditRows(cluster)
    process.kill(paused.pid, 'SIGCONT')
    await until(
      'the paused worker has noticed',
      async () => paused.output(),
      (output) => output.includes('LEASE_LOST') || output.includes('lost its lease'),
    )

    expect(await auditRows(cluster)).toEqual(before)
    expect(before.map(({ attempts }) => attempts)).toEqual([['LOST', 'SUCCEEDED']])
  })
})

function startTestCluster(models: ModelServer, env: Record<string, string> = {}): Promise<Cluster> {
  if (programs === null) throw new Error('the suite is skipped without its programs')
  return startCluster(programs, {
    env: { OPENAI_API_KEY: 'none', OPENAI_BASE_URL: models.baseUrl, AI_DEFAULT_MODELS: 'openai/test-model', ...env },
  })
}

/** Every call upstream gets an answer that no other gets. */
function answerEach(models: ModelServer, gapMs: number): void {
  let count = 0
  models.replyAlways(() => slowAnswer(`answer-${(count += 1)}`, gapMs))
}

/** Reads to the end as a client does that connects again whenever the server could not go on. */
async function readThrough(reader: { isDone: boolean }, read: () => Promise<void>): Promise<void> {
  for (let tries = 0; tries < 20 && !reader.isDone; tries += 1) {
    try {
      await read()
    } catch (error) {
      if (!(error instanceof Error && error.message.includes('SERVICE_UNAVAILABLE'))) throw error
      await delay(250)
    }
  }
}

async function withDatabase<Result>(
  { databaseUrl }: Cluster,
  work: (client: pg.Client) => Promise<Result>,
): Promise<Result> {
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.end()
  }
}

async function countBy(cluster: Cluster, status: string): Promise<number> {
  const { rows } = await withDatabase(cluster, (client) =>
    client.query<{ count: number }>('SELECT count(*)::int AS count FROM task WHERE status = $1::task_status', [status]),
  )
  return rows[0]?.count ?? 0
}

type AuditedTask = {
  id: string
  status: string
  version: number
  attempt: number
  output: string | null
  attempts: string[]
  chunks: number
}

/** Every task as its rows have it; throws when an event, an attempt or a number in a feed is missing. */
async function auditRows(cluster: Cluster): Promise<AuditedTask[]> {
  return withDatabase(cluster, async (client) => {
    const { rows: tasks } = await client.query<AuditedTask & { versions: number[]; numbers: number[] }>(
      `SELECT t.id, t.status, t.version, t.attempt, c.output,
              (SELECT array_agg(version ORDER BY version) FROM task_event WHERE task_id = t.id) AS versions,
              (SELECT array_agg(number ORDER BY number) FROM task_attempt WHERE task_id = t.id) AS numbers,
              (SELECT array_agg(status::text ORDER BY number) FROM task_attempt WHERE task_id = t.id) AS attempts,
              (SELECT count(*)::int FROM output_chunk WHERE task_id = t.id) AS chunks
         FROM task t JOIN task_content c ON c.task_id = t.id ORDER BY t.id`,
    )
    const { rows: feed } = await client.query<{ seq: number }>('SELECT seq::int AS seq FROM task_event ORDER BY seq')
    expect(feed.map(({ seq }) => seq)).toEqual(feed.map((_row, index) => index + 1))
    return tasks.map(({ versions, numbers, ...task }) => {
      expect(versions).toEqual(Array.from({ length: task.version }, (_, index) => index + 1))
      expect(numbers).toEqual(Array.from({ length: task.attempt }, (_, index) => index + 1))
      return task
    })
  })
}

async function flushAll({ redis }: Cluster): Promise<void> {
  const client = new Redis(redis.url)
  await client.flushall()
  client.disconnect()
}
