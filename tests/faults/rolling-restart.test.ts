import { setTimeout as delay } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { findClusterPrograms, startCluster, type Member } from '../support/cluster.ts'
import { createSubmitter } from '../support/first-task.ts'
import { until } from '../support/until.ts'
import { auditAtRest } from './audit.ts'
import { auditAgainstUpstream } from './chaos/audit-upstream.ts'
import { createSeededRandom } from './chaos/seeded-random.ts'
import type { Accepted } from './chaos/submitters.ts'
import { promptOf, startUpstream } from './chaos/upstream.ts'

const programs = findClusterPrograms()
const leastTasks = 300
const timeoutMs = 600_000

describe.skipIf(programs === null)('workers that are replaced one after another', () => {
  test(
    'under load: nothing is lost, nothing that has ended is run again, and nothing costs an attempt',
    async () => {
      if (programs === null) throw new Error('the suite is skipped without its programs')
      await using upstream = await startUpstream(createSeededRandom(1))
      await using cluster = await startCluster(programs, {
        apis: 1,
        workers: 2,
        env: {
          OPENAI_API_KEY: 'none',
          OPENAI_BASE_URL: upstream.baseUrl,
          AI_DEFAULT_MODELS: 'openai/test-model',
          // Shorter than an answer, so that work is given back each time.
          SHUTDOWN_GRACE_MS: '200',
          WORKER_CONCURRENCY: '20',
        },
      })
      const [api] = cluster.apis
      if (api === undefined) throw new Error('an API was asked for')
      const { client } = api
      const { agentId, submitTo } = await createSubmitter(client, {
        concurrency: 40,
        retryPolicy: { maxAttempts: 1 },
      })
      const accepted: Accepted[] = []
      let isEnough = false
      async function submitOn(name: string): Promise<void> {
        for (let index = 1; !isEnough || accepted.length < leastTasks; index += 1) {
          const label = `${name}-${index}`
          const task = { name: label, prompt: promptOf(label, 'answers') }
          accepted.push({ id: await submitTo(client, agentId, task), label, fate: 'answers' })
          await delay(150)
        }
      }
      const submitted = Promise.all(['a', 'b', 'c'].map(submitOn))

      const codes: (number | null)[] = []
      for (const worker of cluster.workers) {
        await untilBusy(worker)
        const next = await cluster.start('worker')
        codes.push(await worker.kill('SIGTERM'))
        await untilBusy(next)
      }
      isEnough = true
      await submitted
      const { tasks, problems } = await auditAtRest(cluster.databaseUrl, 180_000)

      expect(codes).toEqual([0, 0])
      expect(problems).toEqual([])
      expect(auditAgainstUpstream(tasks, accepted, upstream.calls)).toEqual([])
      expect(tasks.filter(({ status, attemptsUsed }) => status !== 'SUCCEEDED' || attemptsUsed !== 1)).toEqual([])
      const attempts = tasks.flatMap((task) => task.attempts.slice(0, -1).map(({ status }) => status))
      expect(attempts).not.toEqual([])
      expect(new Set(attempts)).toEqual(new Set(['RELEASED']))
      const endOf = new Map(tasks.map(({ name, finishedAtMs }) => [name, finishedAtMs ?? 0]))
      expect(upstream.calls.filter(({ label, receivedAtMs }) => receivedAtMs > (endOf.get(label) ?? 0))).toEqual([])
    },
    timeoutMs,
  )
})

async function untilBusy(worker: Member): Promise<void> {
  await until(
    `worker ${worker.pid} runs tasks`,
    async () => worker.output().split('run started').length - worker.output().split('run ended').length,
    (running) => running > 3,
    60_000,
  )
}
