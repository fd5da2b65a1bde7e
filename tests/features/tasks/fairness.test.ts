import { afterAll, beforeAll, expect, test } from 'vitest'
import { createTransitions } from '../../../src/features/tasks/engine/transitions.ts'
import type { Agent } from '../../../src/generated/prisma/client.ts'
import { chunk, finish, startModelServer, wait, type ModelServer } from '../../support/model-server.ts'
import { makeNewTask, seedAgent } from '../../support/seed.ts'
import { startTestApp, type TestApp, type TestUser } from '../../support/test-app.ts'
import { until } from '../../support/until.ts'
import { rowId } from './graphql-fixture.ts'

const slots = 6
const crowd = 10_000
/**
 * Runs take a second, so that every slot is always taken and hardly any begins while the hint for the single task is on its way.
 *
 * What docs/tasks.md promises: of each other workspace that waits, two turns of four tasks, with one worker process.
 */
const maxStartedBefore = 8

let models: ModelServer
let app: TestApp
let quiet: TestUser
let crowded: { user: TestUser; agents: Agent[] }
let open = 0
let mostOpen = 0

beforeAll(async () => {
  models = await startModelServer()
  models.replyAlways((request) => {
    open += 1
    mostOpen = Math.max(mostOpen, open)
    void request.closed.then(() => (open -= 1))
    return { kind: 'stream', acts: [chunk({ role: 'assistant', content: 'x' }), wait(1_000), finish()] }
  })
  app = await startTestApp({
    env: {
      OPENAI_API_KEY: 'none',
      OPENAI_BASE_URL: models.baseUrl,
      AI_DEFAULT_MODELS: 'openai/test-model',
      WORKER_CONCURRENCY: String(slots),
      SHUTDOWN_GRACE_MS: '0',
    },
  })
  quiet = await app.signUp()
  crowded = await submitCrowd()
}, 180_000)

afterAll(async () => {
  await app[Symbol.asyncDispose]()
  await models[Symbol.asyncDispose]()
}, 60_000)

/** A workspace with more tasks than will ever run here, of many agents that could each take every slot. */
async function submitCrowd() {
  const { db } = app.services
  const user = await app.signUp()
  const { workspaceId } = await db.prisma.workspaceMember.findFirstOrThrow({ where: { userId: rowId(user.id) } })
  const agents = await Promise.all(Array.from({ length: 10 }, () => seedAgent(db, { workspaceId, concurrency: 1_000 })))
  const transitions = createTransitions({ db })
  for (let n = 0; n < crowd; n += 500) {
    await transitions.create(agents.flatMap((agent) => Array.from({ length: 50 }, () => makeNewTask(agent))))
  }
  await until(
    'the crowd has every slot',
    () => db.prisma.task.count({ where: { workspaceId, status: 'RUNNING' } }),
    (running) => running === slots,
    60_000,
  )
  return { user, agents }
}

async function createAgent(token: string): Promise<string> {
  const { createAgent: made } = await app.data<{ createAgent: { agent: { id: string } } }>(
    'mutation ($input: CreateAgentInput!) { createAgent(input: $input) { agent { id } } }',
    { input: { name: 'Agent', instructions: 'Go.' } },
    { token },
  )
  return made.agent.id
}

/** Submits one task and sees it through; how many tasks of the crowd were begun while it waited. */
async function startedBefore(agentId: string, token: string): Promise<number> {
  const { db } = app.services
  const { createTask } = await app.data<{ createTask: { task: { id: string } } }>(
    'mutation ($input: CreateTaskInput!) { createTask(input: $input) { task { id } } }',
    { input: { agentId, prompt: 'Go.' } },
    { token },
  )
  const { queuedAt, startedAt } = await until(
    'the single task is done',
    () => db.prisma.task.findUniqueOrThrow({ where: { id: rowId(createTask.task.id) } }),
    ({ status }) => status === 'SUCCEEDED',
    60_000,
  )
  if (queuedAt === null || startedAt === null) throw new Error('it was never begun')
  const ofCrowd = { agentId: { in: crowded.agents.map(({ id }) => id) } }
  return db.prisma.taskAttempt.count({ where: { startedAt: { gt: queuedAt, lt: startedAt }, task: ofCrowd } })
}

test('a workspace with 10 000 tasks does not delay the single tasks of another', async () => {
  const agentId = await createAgent(quiet.token)
  const counts = []
  for (let n = 0; n < 3; n += 1) counts.push(await startedBefore(agentId, quiet.token))

  expect(Math.max(...counts)).toBeLessThanOrEqual(maxStartedBefore)
})

test('ten agents with 1 000 tasks each do not delay the single task of another agent of their workspace', async () => {
  const agentId = await createAgent(crowded.user.token)

  // One of each of the others, and a turn that was under way.
  expect(await startedBefore(agentId, crowded.user.token)).toBeLessThanOrEqual(10 + 4)
})

test('never more run at once than WORKER_CONCURRENCY', async () => {
  expect(mostOpen).toBeLessThanOrEqual(slots)
  // Something is still waiting for a slot, or this would say nothing.
  expect(await app.services.db.prisma.task.count({ where: { status: 'QUEUED' } })).toBeGreaterThan(0)
})
