import { setTimeout as delay } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { findClusterPrograms, startCluster, type Cluster, type Member } from '../support/cluster.ts'
import { createSubmitter } from '../support/first-task.ts'
import { startModelServer, type ModelServer, type SeenRequest } from '../support/model-server.ts'
import { endlessAnswer } from '../support/slow-answers.ts'
import { createReader } from '../support/task-reader.ts'
import { until } from '../support/until.ts'
import { auditAtRest, auditRows } from './audit.ts'

const programs = findClusterPrograms()
/** What is promised from the mutation to the closed connection upstream, at the 99th percentile. */
const promisedMs = { withRedis: 1_000, withoutRedis: 6_000 }
const cancellations = 60
const cancelTask =
  'mutation ($input: CancelTaskInput!) { cancelTask(input: $input) { task { id status statusReason version } } }'

describe.skipIf(programs === null)('cancelling over two API and two worker processes', () => {
  test('closes the connections upstream in time, whether the message arrives or is lost; what was said is kept and paid for', async () => {
    await using models = await startModelServer()
    await using cluster = await startTestCluster(models)
    const running = await startRunning(cluster, models, cancellations * 2)

    const withRedis = await measure(running.slice(0, cancellations), cluster, null)
    await cluster.redis.stop()
    // Spread over more than the time between two heartbeats: any moment of it must do.
    const withoutRedis = await measure(running.slice(cancellations), cluster, 100)

    console.log(`cancelling, mutation to closed upstream: ${JSON.stringify({ withRedis, withoutRedis })}`)
    expect(withRedis.p99Ms).toBeLessThan(promisedMs.withRedis)
    expect(withoutRedis.p99Ms).toBeLessThan(promisedMs.withoutRedis)
    const { tasks, problems } = await auditAtRest(cluster.databaseUrl, 60_000)
    expect(problems).toEqual([])
    expect(tasks.map(({ status }) => status)).toEqual(tasks.map(() => 'CANCELLED'))
    for (const { name, output, calls } of tasks) {
      expect(output).toMatch(/^begun( \d+)*$/)
      expect({ name, calls }).toEqual({
        name,
        calls: [
          {
            attempt: 1,
            requestId: 'req-test',
            outcome: 'aborted',
            usage: { estimated: true, outputTokens: expect.any(Number) },
          },
        ],
      })
    }
  })

  test('ends a task in any state at once, asked on another API, and what depends on it as its policy says', async () => {
    await using models = await startModelServer()
    await using cluster = await startTestCluster(models)
    const [first, second] = apisOf(cluster)
    const { token, agentId, submitTo } = await createSubmitter(first.client)
    const create = (task: Record<string, unknown>): Promise<string> => submitTo(first.client, agentId, task)
    const cancel = async (id: string): Promise<Record<string, unknown>> => {
      const input = { id, reason: 'enough' }
      const payload = await second.client.data<{ cancelTask: { task: Record<string, unknown> } }>(
        cancelTask,
        { input },
        { token },
      )
      return payload.cancelTask.task
    }
    const statusOf = async (id: string): Promise<string> => {
      const { task } = await first.client.data<{ task: { status: string } }>(
        'query ($id: ID!) { task(id: $id) { status } }',
        { id },
        { token },
      )
      return task.status
    }
    const cancelled = { status: 'CANCELLED', statusReason: 'enough', version: 2 }

    const scheduled = await create({ runAt: inAnHour() })
    expect(await cancel(scheduled)).toEqual({ ...cancelled, id: scheduled })
    await first.client.data(
      'mutation ($input: AgentInput!) { pauseAgent(input: $input) { agent { id } } }',
      { input: { id: agentId } },
      { token },
    )
    const queued = await create({})
    expect(await cancel(queued)).toEqual({ ...cancelled, id: queued })
    expect(await cancel(queued)).toEqual({ ...cancelled, id: queued })

    const waitedFor = await create({ runAt: inAnHour() })
    const blocked = await create({ dependsOn: [waitedFor] })
    const after = {
      skipped: await create({ dependsOn: [blocked], onDependencyFailure: 'SKIP' }),
      cancelled: await create({ dependsOn: [blocked], onDependencyFailure: 'CANCEL' }),
      queued: await create({ dependsOn: [blocked], onDependencyFailure: 'RUN' }),
    }
    expect(await cancel(blocked)).toEqual({ ...cancelled, id: blocked })
    expect(await statusOf(after.skipped)).toBe('SKIPPED')
    expect(await statusOf(after.cancelled)).toBe('CANCELLED')
    expect(await statusOf(after.queued)).toBe('QUEUED')
    expect(models.requests).toEqual([])
    const { problems } = await auditRows(cluster.databaseUrl, { isAtRest: false })
    expect(problems).toEqual([])
  })
})

async function startTestCluster(models: ModelServer): Promise<Cluster> {
  if (programs === null) throw new Error('the suite is skipped without its programs')
  models.replyAlways(endlessAnswer('begun', 1_000))
  return startCluster(programs, {
    env: {
      OPENAI_API_KEY: 'none',
      OPENAI_BASE_URL: models.baseUrl,
      AI_DEFAULT_MODELS: 'openai/test-model',
      WORKER_CONCURRENCY: '100',
    },
  })
}

const inAnHour = (): string => new Date(Date.now() + 3_600_000).toISOString()

function apisOf(cluster: Cluster): [Member, Member] {
  const [first, second] = cluster.apis
  if (first === undefined || second === undefined) throw new Error('two APIs were asked for')
  return [first, second]
}

type Running = { taskId: string; token: string; request: SeenRequest }

/** Tasks that run, with the calls upstream that were made for them. */
async function startRunning(cluster: Cluster, models: ModelServer, count: number): Promise<Running[]> {
  const [{ client }] = apisOf(cluster)
  const { token, agentId, submitTo } = await createSubmitter(client, { concurrency: count })
  const ids = new Map<string, string>()
  for (let index = 0; index < count; index += 1) {
    ids.set(`task-${index}.`, await submitTo(client, agentId, { prompt: `task-${index}.` }))
  }
  await until(
    'all tasks are answered',
    async () => models.requests.filter(({ wroteAtMs }) => wroteAtMs.length > 2).length,
    (answered) => answered === count,
    60_000,
  )
  // Every process has its share.
  const last = [...ids.values()].at(-1) ?? ''
  await createReader(last).read(client, token, ({ text }) => text.length > 0)
  expect(cluster.workers.filter((worker) => worker.output().includes('run started'))).toHaveLength(2)
  return models.requests.map((request) => {
    const prompt = /task-\d+\./.exec(JSON.stringify(request.body['messages']))?.[0] ?? ''
    return { taskId: ids.get(prompt) ?? '', token, request }
  })
}

type Figures = { count: number; p50Ms: number; p90Ms: number; p99Ms: number; maxMs: number }

/** Cancels them through one API and the other: each when the one before it is done, or one every `gapMs`. */
async function measure(running: readonly Running[], cluster: Cluster, gapMs: number | null): Promise<Figures> {
  const apis = apisOf(cluster)
  const took: Promise<number>[] = []
  for (const [index, { taskId, token, request }] of running.entries()) {
    const askedAtMs = performance.now()
    const closed = request.closed.then(() => performance.now() - askedAtMs)
    const asked = apis[index % 2 === 0 ? 0 : 1].client.data(cancelTask, { input: { id: taskId } }, { token })
    const done = Promise.all([closed, asked]).then(([tookMs]) => tookMs)
    took.push(done)
    await (gapMs === null ? done : delay(gapMs))
  }
  const sorted = (await Promise.all(took)).toSorted((a, b) => a - b)
  const at = (part: number): number => Math.round((sorted[Math.ceil(part * sorted.length) - 1] ?? NaN) * 10) / 10
  return { count: sorted.length, p50Ms: at(0.5), p90Ms: at(0.9), p99Ms: at(0.99), maxMs: at(1) }
}
