import { expect, test } from 'vitest'
import type { AiClient } from '../../../src/ai/ai-client.ts'
import { createAiClient } from '../../../src/ai/ai-client.ts'
import { createAnnouncer } from '../../../src/features/tasks/announcer.ts'
import { createOutputWriter } from '../../../src/features/tasks/output-writer.ts'
import { createStepBatcher } from '../../../src/features/tasks/step-batcher.ts'
import { createTaskPublisher } from '../../../src/features/tasks/task-publisher.ts'
import { createTransitions } from '../../../src/features/tasks/transitions.ts'
import { startWorker } from '../../../src/features/tasks/worker.ts'
import { createLedger } from '../../../src/features/usage/ledger.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { newId } from '../../../src/lib/ids.ts'
import { createInProcessDispatch } from '../../../src/platform/dispatch/in-process.ts'
import { createInProcessEvents } from '../../../src/platform/events/in-process.ts'
import { captureLogs } from '../../support/log-capture.ts'
import { startModelServer, stall, stream } from '../../support/model-server.ts'
import { makeNewTask, seedAgent } from '../../support/seed.ts'
import { startTestDatabase } from '../../support/test-database.ts'

test('gives back what it was about to claim when it was stopped', async () => {
  await using db = await startTestDatabase()
  await using models = await startModelServer()
  models.replyAlways(stream(stall))
  const { logger } = captureLogs()
  const transitions = createTransitions({ db })
  const events = createInProcessEvents()
  const publisher = createTaskPublisher({ events, logger })
  const dispatch = createInProcessDispatch({ maxWaitingPerAgent: 5, onError: (error) => logger.error({ err: error }) })
  const announcer = createAnnouncer({ publisher, dispatch, onScheduled: () => undefined, logger })
  const common = { clock: systemClock, random: Math.random, logger, leaseMs: 12_000 }
  const ai: AiClient = createAiClient({
    ...common,
    newId,
    providers: [{ name: 'test', baseUrl: models.baseUrl, apiKey: 'none' }],
    defaultModels: ['test/model'],
    aliases: {},
    timeouts: {},
  })
  const output = createOutputWriter({ db, publisher, ...common })
  const steps = createStepBatcher({ ...common, transitions, announcer, processId: newId() })
  let letGo = (): void => undefined
  const answered = new Promise<void>((resolve) => (letGo = resolve))
  let sayClaimed = (): void => undefined
  const claimed = new Promise<void>((resolve) => (sayClaimed = resolve))
  const worker = await startWorker({
    ...common,
    ai,
    output,
    transitions,
    ledger: createLedger({ db }),
    dispatch,
    events,
    concurrency: 5,
    steps: {
      ...steps,
      // The answer of the database is slow.
      async claim(agentId) {
        const run = await steps.claim(agentId)
        sayClaimed()
        await answered
        return run
      },
    },
  })
  const agent = await seedAgent(db)
  const task = makeNewTask(agent)
  await announcer.announce(await transitions.create([task]))
  await claimed

  const stopped = worker.stop(0)
  setTimeout(letGo, 100)
  await stopped

  expect(worker.runningTasks()).toBe(0)
  expect(await db.prisma.task.findUnique({ where: { id: task.id } })).toMatchObject({
    status: 'QUEUED',
    attemptsUsed: 0,
  })
  await steps.close()
  await output.close()
  await ai.close()
})
