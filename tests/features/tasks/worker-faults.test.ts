import { createDependencyResults } from '../../../src/features/tasks/engine/dependency-results.ts'
import { expect, test } from 'vitest'
import { createAiClient, type AiClient } from '../../../src/ai/ai-client.ts'
import { createAnnouncer } from '../../../src/features/tasks/engine/announcer.ts'
import { createOutputWriter } from '../../../src/features/tasks/output/output-writer.ts'
import { createLimitQueue } from '../../../src/features/tasks/engine/limit-queue.ts'
import { createStepBatcher, type StepBatcher } from '../../../src/features/tasks/engine/step-batcher.ts'
import { createTaskPublisher } from '../../../src/features/tasks/streams/task-publisher.ts'
import { createTransitions } from '../../../src/features/tasks/engine/transitions.ts'
import { startWorker, type WorkerDeps } from '../../../src/features/tasks/engine/worker.ts'
import { createLedger, type Ledger } from '../../../src/features/usage/ledger.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { ServiceUnavailableError } from '../../../src/lib/errors.ts'
import { newId } from '../../../src/lib/ids.ts'
import { createInProcessDispatch } from '../../../src/platform/dispatch/in-process.ts'
import { createInProcessEvents } from '../../../src/platform/events/in-process.ts'
import { captureLogs } from '../../support/log-capture.ts'
import { answer, startModelServer, stall, stream, type Reply } from '../../support/model-server.ts'
import { makeNewTask, seedAgent } from '../../support/seed.ts'
import { startTestDatabase } from '../../support/test-database.ts'
import { until } from '../../support/until.ts'

/** A worker with everything that it needs, in which a test replaces what it wants. */
async function startParts(
  reply: Reply,
  replace: (parts: { steps: StepBatcher; ledger: Ledger; ai: AiClient }) => Partial<WorkerDeps>,
) {
  const db = await startTestDatabase()
  const models = await startModelServer()
  models.replyAlways(reply)
  const { logger } = captureLogs()
  const transitions = createTransitions({ db })
  const events = createInProcessEvents()
  const publisher = createTaskPublisher({ events, logger })
  const dispatch = createInProcessDispatch({
    maxWaitingPerWorkspace: 5,
    onError: (error) => logger.error({ err: error }),
  })
  const announcer = createAnnouncer({ publisher, dispatch, onScheduled: () => undefined, logger })
  const common = { clock: systemClock, random: Math.random, logger, leaseMs: 12_000 }
  const ai = createAiClient({
    ...common,
    newId,
    providers: [{ name: 'test', baseUrl: models.baseUrl, apiKey: 'none' }],
    defaultModels: ['test/model'],
    aliases: {},
    timeouts: {},
  })
  const output = createOutputWriter({ db, publisher, ...common })
  const steps = createStepBatcher({ ...common, transitions, announcer, newId, processId: newId(), maxUnderWay: 2 })
  const ledger = createLedger({ db })
  const dependencies = createDependencyResults({ db })
  const limitQueue = createLimitQueue(common)
  const parts = {
    ...common,
    ai,
    output,
    transitions,
    announcer,
    limitQueue,
    dependencies,
    ledger,
    dispatch,
    events,
    concurrency: 5,
    steps,
  }
  const worker = await startWorker({ ...parts, ...replace({ steps, ledger, ai }) })
  const agent = await seedAgent(db)
  const task = makeNewTask(agent)
  await announcer.announce(await transitions.create([task]))
  return {
    db,
    worker,
    taskId: task.id,
    async [Symbol.asyncDispose]() {
      await worker.stop(0)
      await steps.close()
      await output.close()
      await ai.close()
      await models[Symbol.asyncDispose]()
      await db[Symbol.asyncDispose]()
    },
  }
}

test('gives back what it was about to claim when it was stopped', async () => {
  let letGo = (): void => undefined
  const answered = new Promise<void>((resolve) => (letGo = resolve))
  let sayClaimed = (): void => undefined
  const claimed = new Promise<void>((resolve) => (sayClaimed = resolve))
  await using parts = await startParts(stream(stall), ({ steps }) => ({
    steps: {
      ...steps,
      // The answer of the database is slow.
      async claim(workspaceId, count) {
        const runs = await steps.claim(workspaceId, count)
        sayClaimed()
        await answered
        return runs
      },
    },
  }))
  const { db, worker, taskId } = parts
  await claimed

  const stopped = worker.stop(0)
  setTimeout(letGo, 100)
  await stopped

  expect(worker.runningTasks()).toBe(0)
  expect(await db.prisma.task.findUnique({ where: { id: taskId } })).toMatchObject({
    status: 'QUEUED',
    attemptsUsed: 0,
  })
})

test('writes what a run has spent when the database is back, though the lease is long gone', async () => {
  let refusals = 2
  await using parts = await startParts(answer('Hi', '.'), ({ steps, ledger }) => ({
    steps: { ...steps, end: async () => false },
    ledger: {
      async record(calls) {
        refusals -= 1
        if (refusals >= 0) throw new ServiceUnavailableError('The database cannot be reached.')
        await ledger.record(calls)
      },
    },
  }))
  const { db, taskId } = parts

  const used = await until(
    'the call is in the ledger',
    () => db.prisma.usageRecord.findMany({ where: { taskId } }),
    (rows) => rows.length > 0,
  )

  expect(used).toMatchObject([{ inputTokens: 11, outputTokens: 2 }])
})

test('gives back a run that could not ask for its budget while the database was away', async () => {
  let outages = 1
  await using parts = await startParts(answer('Hi', '.'), ({ ai }) => ({
    ai: {
      ...ai,
      async *stream(...call) {
        outages -= 1
        if (outages >= 0) throw new ServiceUnavailableError('The database cannot be reached.')
        yield* ai.stream(...call)
      },
    },
  }))
  const { db, taskId } = parts

  const task = await until(
    'the task has ended',
    () =>
      db.prisma.task.findUniqueOrThrow({
        where: { id: taskId },
        include: { attempts: { orderBy: { number: 'asc' } } },
      }),
    ({ finishedAt }) => finishedAt !== null,
    30_000,
  )

  expect(task).toMatchObject({
    status: 'SUCCEEDED',
    attemptsUsed: 1,
    attempts: [{ status: 'RELEASED' }, { status: 'SUCCEEDED' }],
  })
}, 60_000)
