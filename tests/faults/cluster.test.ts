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
import { auditRows, type Audit } from './audit.ts'

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

    const { tasks, problems } = await auditRows(cluster.databaseUrl, { isAtRest: true })
    expect(problems).toEqual([])
    expect(tasks.map(({ status }) => status)).toEqual(taskIds.map(() => 'SUCCEEDED'))
    for (const { reader } of readers) {
      expect(reader.statuses.at(-1)).toBe('SUCCEEDED')
      expect(reader.text).toBe(answerText(labelOf(reader.text)))
    }
    expect(tasks.map(({ output }) => output).toSorted()).toEqual(readers.map(({ reader }) => reader.text).toSorted())
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
    const before = await auditRows(cluster.databaseUrl, { isAtRest: true })
    expect(before.problems).toEqual([])
    expect(before.tasks.map(({ attempts }) => attempts)).toEqual([
      [
        { number: 1, status: 'LOST' },
        { number: 2, status: 'SUCCEEDED' },
      ],
    ])
    process.kill(paused.pid, 'SIGCONT')

    // The ledger alone is not fenced, because the money was spent. It is the last that a run writes.
    const after = await until(
      'the paused worker has recorded its call',
      () => auditRows(cluster.databaseUrl, { isAtRest: true }),
      ({ tasks: [task] }) => task?.calls.some(({ attempt }) => attempt === 1) === true,
      60_000,
    )
    expect(after.problems).toEqual([])
    expect(withoutCalls(after)).toEqual(withoutCalls(before))
    expect(after.tasks[0]?.calls.map(({ attempt, usage }) => ({ attempt, estimated: usage?.estimated }))).toEqual([
      { attempt: 1, estimated: true },
      { attempt: 2, estimated: false },
    ])
    expect(paused.output()).toMatch(/LEASE_LOST|lost its lease/)
  })

  test('a worker is killed: its tasks go on or fail as their agents say, and fail at the last attempt', async () => {
    await using models = await startModelServer()
    await using cluster = await startTestCluster(models, {}, { apis: 1, workers: 1 })
    const [api] = cluster.apis
    const [worker] = cluster.workers
    if (api === undefined || worker === undefined) throw new Error('an API and a worker were asked for')
    // The first three take longer than a second worker needs to start.
    answerEach(models, (count) => (count <= 3 ? 2_000 : 20))
    const { client } = api
    const { token, createAgent, submitTo } = await createSubmitter(client)
    const agentIds = {
      retries: await createAgent({ crashPolicy: 'RETRY' }),
      fails: await createAgent({ crashPolicy: 'FAIL' }),
      triesOnce: await createAgent({ crashPolicy: 'RETRY', retryPolicy: { maxAttempts: 1 } }),
    }
    const readers = {
      retries: createReader(await submitTo(client, agentIds.retries)),
      fails: createReader(await submitTo(client, agentIds.fails)),
      triesOnce: createReader(await submitTo(client, agentIds.triesOnce)),
    }
    const all = Object.values(readers)
    await Promise.all(all.map((reader) => reader.read(client, token, ({ text }) => text.length > 0)))
    await cluster.start('worker')

    await worker.kill('SIGKILL')
    const killedAtMs = performance.now()
    await Promise.all(
      all.map((reader) => reader.read(client, token, ({ statuses }) => statuses.some((status) => status !== 'QUEUED'))),
    )
    expect(performance.now() - killedAtMs).toBeLessThan(recoveryLimitMs)
    await readers.retries.read(client, token)

    expect(readers.retries.statuses).toEqual(['QUEUED', 'RUNNING', 'SUCCEEDED'])
    expect(readers.fails.statuses).toEqual(['FAILED'])
    expect(readers.triesOnce.statuses).toEqual(['FAILED'])
    const { tasks, problems } = await auditRows(cluster.databaseUrl, { isAtRest: true })
    expect(problems).toEqual([])
    expect(
      tasks.map(({ status, errorCode, attempts }) => ({
        status,
        errorCode,
        attempts: attempts.map((one) => one.status),
      })),
    ).toEqual([
      { status: 'SUCCEEDED', errorCode: null, attempts: ['LOST', 'SUCCEEDED'] },
      { status: 'FAILED', errorCode: 'WORKER_LOST', attempts: ['LOST'] },
      { status: 'FAILED', errorCode: 'WORKER_LOST', attempts: ['LOST'] },
    ])
    // What was said is kept.
    for (const reader of [readers.fails, readers.triesOnce]) {
      const output = tasks.find(({ id }) => id === rowId(reader.taskId))?.output ?? ''
      expect(output).not.toBe('')
      expect(reader.text).toBe(output)
      expect(answerText(labelOf(output)).startsWith(output)).toBe(true)
    }
  })
})

function startTestCluster(
  models: ModelServer,
  env: Record<string, string> = {},
  counts: { apis?: number; workers?: number } = {},
): Promise<Cluster> {
  if (programs === null) throw new Error('the suite is skipped without its programs')
  return startCluster(programs, {
    ...counts,
    env: { OPENAI_API_KEY: 'none', OPENAI_BASE_URL: models.baseUrl, AI_DEFAULT_MODELS: 'openai/test-model', ...env },
  })
}

/** Every call upstream gets an answer that no other gets. */
function answerEach(models: ModelServer, gapMs: number | ((count: number) => number)): void {
  let count = 0
  models.replyAlways(() => {
    count += 1
    return slowAnswer(`answer-${count}`, typeof gapMs === 'number' ? gapMs : gapMs(count))
  })
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

const labelOf = (answer: string): string => /^answer-\d+/.exec(answer)?.[0] ?? ''

function withoutCalls({ tasks, feeds }: Audit): object {
  return { tasks: tasks.map((task) => ({ ...task, calls: null })), feeds }
}

async function flushAll({ redis }: Cluster): Promise<void> {
  const client = new Redis(redis.url)
  await client.flushall()
  client.disconnect()
}
