import { afterAll, beforeAll, expect, test } from 'vitest'
import { startTestApp, type TestApp, type TestUser } from '../../support/test-app.ts'
import { until } from '../../support/until.ts'
import { hold, chunk, finish, startModelServer, stream, type ModelServer } from '../../support/model-server.ts'
import { rowId } from './graphql-fixture.ts'

let models: ModelServer
let app: TestApp
let user: TestUser
let letGo = (): void => undefined

beforeAll(async () => {
  models = await startModelServer()
  const released = new Promise<void>((resolve) => (letGo = resolve))
  models.replyAlways(stream(chunk({ role: 'assistant', content: 'x' }), hold(released), finish()))
  const provider = { OPENAI_API_KEY: 'none', OPENAI_BASE_URL: models.baseUrl, AI_DEFAULT_MODELS: 'openai/test-model' }
  app = await startTestApp({ env: { ...provider, WORKER_CONCURRENCY: '1' } })
  user = await app.signUp()
})

afterAll(async () => {
  letGo()
  await app[Symbol.asyncDispose]()
  await models[Symbol.asyncDispose]()
})

type Task = { id: string; status: string; priority: number; version: number; startedAt: string | null }

async function submit(agentId: string, name: string): Promise<string> {
  const { createTask } = await app.data<{ createTask: { task: Task } }>(
    'mutation ($input: CreateTaskInput!) { createTask(input: $input) { task { id } } }',
    { input: { agentId, prompt: 'Go.', name } },
    { token: user.token },
  )
  return createTask.task.id
}

const set = `mutation ($input: SetTaskPriorityInput!) {
  setTaskPriority(input: $input) { task { id status priority version } }
}`

async function setPriority(id: string, priority: number): Promise<Task> {
  const { setTaskPriority } = await app.data<{ setTaskPriority: { task: Task } }>(
    set,
    { input: { id, priority } },
    { token: user.token },
  )
  return setTaskPriority.task
}

async function codeOf(id: string, priority: number, token = user.token): Promise<unknown> {
  const { errors } = await app.graphql(set, { input: { id, priority } }, { token })
  return errors?.[0]?.extensions.code
}

const rowOf = (id: string) => app.services.db.prisma.task.findUniqueOrThrow({ where: { id: rowId(id) } })

test('changes the order of what waits, is told once, and has no effect on what has ended', async () => {
  const { createAgent } = await app.data<{ createAgent: { agent: { id: string } } }>(
    'mutation ($input: CreateAgentInput!) { createAgent(input: $input) { agent { id } } }',
    { input: { name: 'Agent', instructions: 'Go.' } },
    { token: user.token },
  )
  const agentId = createAgent.agent.id
  const running = await submit(agentId, 'running')
  await until(
    'the first one runs',
    () => rowOf(running),
    ({ status }) => status === 'RUNNING',
  )
  const [first, second] = [await submit(agentId, 'first'), await submit(agentId, 'second')]

  expect(await setPriority(second, 100)).toMatchObject({ status: 'QUEUED', priority: 100, version: 2 })
  expect(await setPriority(second, 100)).toMatchObject({ priority: 100, version: 2 })
  expect(await setPriority(running, -5)).toMatchObject({ status: 'RUNNING', priority: -5, version: 3 })
  const events = await app.services.db.prisma.taskEvent.findMany({ where: { taskId: rowId(second) } })
  expect(events.map(({ type, status, reason }) => [type, status, reason])).toEqual([
    ['CREATED', 'QUEUED', null],
    ['PRIORITY_CHANGED', 'QUEUED', 'The priority is 100.'],
  ])
  const audited = await app.services.db.prisma.auditEvent.findMany({ where: { action: 'task.priority_changed' } })
  expect(audited.map(({ target, details }) => [target, details])).toEqual([
    [rowId(second), { from: 0, to: 100 }],
    [rowId(running), { from: 0, to: -5 }],
  ])

  letGo()
  const tasks = await until(
    'all have ended',
    () => Promise.all([first, second].map(rowOf)),
    (rows) => rows.every(({ status }) => status === 'SUCCEEDED'),
  )
  expect(Number(tasks[1]?.startedAt)).toBeLessThan(Number(tasks[0]?.startedAt))
  expect(await codeOf(first, 1)).toBe('CONFLICT')
})

test('refuses what is out of range, and whoever may not', async () => {
  const stranger = await app.signUp()
  const [task] = await app.services.db.prisma.task.findMany({ take: 1 })
  const id = Buffer.from(`Task:${task?.id}`).toString('base64')

  expect(await codeOf(id, 101)).toBe('BAD_USER_INPUT')
  expect(await codeOf(id, -101)).toBe('BAD_USER_INPUT')
  expect(await codeOf(id, 1, stranger.token)).toBe('NOT_FOUND')
})
