import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createStepBatcher } from '../../../src/features/tasks/engine/step-batcher.ts'
import { createTransitions } from '../../../src/features/tasks/engine/transitions.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { newId } from '../../../src/lib/ids.ts'
import { createDatabase } from '../../../src/platform/database/create-database.ts'
import type { Database } from '../../../src/platform/database/database.ts'
import { captureLogs } from '../../support/log-capture.ts'
import { startPostgresProxy, type PostgresProxy } from '../../support/postgres-proxy.ts'
import { findPostgres, startPostgresServer, type PostgresServer } from '../../support/postgres-server.ts'
import { makeNewTask, seedAgent } from '../../support/seed.ts'
import { databaseOptions } from '../../support/test-database.ts'

const programs = findPostgres()

describe.skipIf(programs === null)('a claim whose answer is lost', () => {
  let server: PostgresServer
  let proxy: PostgresProxy
  let db: Database

  beforeAll(async () => {
    server = await startPostgresServer(programs ?? '')
    proxy = await startPostgresProxy(await server.createDatabase())
    const { logger } = captureLogs()
    db = await createDatabase(databaseOptions({ url: proxy.url, dataDirectory: '', logger }))
  }, 120_000)

  afterAll(async () => {
    await db.close()
    await proxy[Symbol.asyncDispose]()
    await server[Symbol.asyncDispose]()
  })

  function createBatcher(leaseMs = 60_000) {
    const transitions = createTransitions({ db })
    const announcer = { announce: async () => undefined }
    const { logger } = captureLogs()
    const steps = createStepBatcher({
      transitions,
      announcer,
      clock: systemClock,
      newId,
      logger,
      processId: newId(),
      leaseMs,
      maxUnderWay: 2,
    })
    return { transitions, steps }
  }

  test('is asked for again: the tasks are ours, in the attempt that was begun', async () => {
    const { transitions, steps } = createBatcher()
    const agent = await seedAgent(db)
    await transitions.create(Array.from({ length: 5 }, () => makeNewTask(agent)))
    const lost = proxy.loseAnswerOf('task_step', agent.workspaceId)

    const claimed = await steps.claim(agent.workspaceId, 3)
    await lost

    expect(claimed.map(({ task }) => [task.status, task.attempt])).toEqual(claimed.map(() => ['RUNNING', 1]))
    expect(claimed).toHaveLength(3)
    expect(await db.prisma.task.count({ where: { agentId: agent.id, status: 'RUNNING' } })).toBe(3)
    expect(await db.prisma.taskAttempt.count({ where: { task: { agentId: agent.id } } })).toBe(3)
    const ended = await Promise.all(claimed.map((run) => steps.end(released(run.task.id, run.leaseToken), null)))
    expect(ended).toEqual([true, true, true])
  })

  test('takes no more than was wished for, however often it is lost', async () => {
    const { transitions, steps } = createBatcher()
    const agent = await seedAgent(db)
    await transitions.create(Array.from({ length: 5 }, () => makeNewTask(agent)))

    const claiming = steps.claim(agent.workspaceId, 2)
    await proxy.loseAnswerOf('task_step', agent.workspaceId)
    await proxy.loseAnswerOf('task_step', agent.workspaceId)

    expect(await claiming).toHaveLength(2)
    expect(await db.prisma.task.count({ where: { agentId: agent.id, status: 'RUNNING' } })).toBe(2)
  })
})

function released(taskId: string, leaseToken: string) {
  const nothing = { retryDelayMs: null, error: null, output: null, outputJson: null, model: null, calls: [] }
  return {
    ...nothing,
    taskId,
    leaseToken,
    outcome: 'RELEASED' as const,
    reason: null,
    timeToFirstTokenMs: null,
  }
}
