import { describe, expect, test } from 'vitest'
import { findClusterPrograms, startCluster } from '../support/cluster.ts'
import { createSubmitter, rowId } from '../support/first-task.ts'
import { startModelServer } from '../support/model-server.ts'
import { slowAnswer } from '../support/slow-answers.ts'
import { createReader } from '../support/task-reader.ts'

const programs = findClusterPrograms()
const graceMs = 1_000
/** What a process may need beside its grace, as docs/scaling.md promises; SIGKILL comes after that. */
const marginMs = 15_000

describe.skipIf(programs === null)('SIGTERM', () => {
  test.each(['PostgreSQL', 'Redis'] as const)('ends a worker in time though %s hangs', async (frozen) => {
    if (programs === null) throw new Error('the suite is skipped without its programs')
    await using models = await startModelServer()
    models.replyAlways(slowAnswer('answer', 1_000))
    await using cluster = await startCluster(programs, {
      apis: 1,
      workers: 1,
      env: {
        OPENAI_API_KEY: 'none',
        OPENAI_BASE_URL: models.baseUrl,
        AI_DEFAULT_MODELS: 'openai/test-model',
        SHUTDOWN_GRACE_MS: String(graceMs),
      },
    })
    const [api] = cluster.apis
    if (api === undefined) throw new Error('an API was asked for')
    const { token, submit } = await createSubmitter(api.client)
    const taskId = await submit(api.client)
    await createReader(taskId).read(api.client, token, ({ text }) => text.length > 0)
    const worker = cluster.workerOf(rowId(taskId))
    const server = frozen === 'PostgreSQL' ? cluster.postgres : cluster.redis

    await server.freeze()
    const askedAtMs = performance.now()
    const code = await worker.kill('SIGTERM')
    const tookMs = performance.now() - askedAtMs
    await server.thaw()

    expect(tookMs).toBeLessThan(graceMs + marginMs)
    // Without PostgreSQL the task could not be given back; its lease runs out.
    expect(code).toBe(frozen === 'PostgreSQL' ? 1 : 0)
  })
})
