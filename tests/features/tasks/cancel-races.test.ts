import { afterAll, beforeAll, expect, test } from 'vitest'
import { chunk, finish, hold, startModelServer, stream, text, type ModelServer } from '../../support/model-server.ts'
import { createReader } from '../../support/task-reader.ts'
import { startTestApp, type TestApp, type TestUser } from '../../support/test-app.ts'

let models: ModelServer
let app: TestApp
let user: TestUser

beforeAll(async () => {
  models = await startModelServer()
  app = await startTestApp({
    env: { OPENAI_API_KEY: 'none', OPENAI_BASE_URL: models.baseUrl, AI_DEFAULT_MODELS: 'openai/test-model' },
  })
  user = await app.signUp()
})

afterAll(async () => {
  await app[Symbol.asyncDispose]()
  await models[Symbol.asyncDispose]()
})

type Task = {
  status: string
  version: number
  output: string | null
  attemptsUsed: number
  attempts: { status: string }[]
  events: { edges: { node: { type: string; version: number; status: string } }[] }
}

const taskQuery = `query ($id: ID!) { task(id: $id) {
  status version output attemptsUsed attempts { status } events(first: 50) { edges { node { type version status } } } } }`
const cancelMutation = `mutation ($input: CancelTaskInput!) { cancelTask(input: $input) { task { status version } } }`

async function createAgent(concurrency: number): Promise<string> {
  const { createAgent: payload } = await app.data<{ createAgent: { agent: { id: string } } }>(
    'mutation ($input: CreateAgentInput!) { createAgent(input: $input) { agent { id } } }',
    { input: { name: 'Agent', instructions: 'Answer.', concurrency } },
    { token: user.token },
  )
  return payload.agent.id
}

async function submit(agentId: string): Promise<string> {
  const { createTask } = await app.data<{ createTask: { task: { id: string } } }>(
    'mutation ($input: CreateTaskInput!) { createTask(input: $input) { task { id } } }',
    { input: { agentId, prompt: 'Go.' } },
    { token: user.token },
  )
  return createTask.task.id
}

const cancel = (id: string) =>
  app.data<{ cancelTask: { task: { status: string; version: number } } }>(
    cancelMutation,
    { input: { id } },
    { token: user.token },
  )

async function ended(id: string): Promise<Task> {
  await createReader(id).read(app, user.token)
  const { task } = await app.data<{ task: Task }>(taskQuery, { id }, { token: user.token })
  return task
}

/** Answers that have begun, and end when they are let go. */
async function startHeldTasks(count: number): Promise<{ ids: string[]; letGo: () => void }> {
  let letGo = (): void => undefined
  const held = new Promise<void>((resolve) => (letGo = resolve))
  models.replyAlways(stream(chunk({ role: 'assistant' }), text('begun'), hold(held), text(', done'), finish()))
  const agentId = await createAgent(count)
  const ids = await Promise.all(Array.from({ length: count }, () => submit(agentId)))
  await Promise.all(ids.map((id) => createReader(id).read(app, user.token, ({ text: soFar }) => soFar === 'begun')))
  return { ids, letGo: () => letGo() }
}

test('cancelled at the moment of its success, a task ends once, and all that is said of it agrees', async () => {
  const { ids, letGo } = await startHeldTasks(20)

  // Some are cancelled before their answer is complete, some after it.
  const half = ids.length / 2
  const early = ids.slice(0, half).map(cancel)
  letGo()
  await Promise.all([...early, ...ids.slice(half).map(cancel)])
  const tasks = await Promise.all(ids.map(ended))

  for (const { status, version, output, attemptsUsed, attempts, events } of tasks) {
    expect(['SUCCEEDED', 'CANCELLED']).toContain(status)
    expect(['begun', 'begun, done']).toContain(output)
    if (status === 'SUCCEEDED') expect(output).toBe('begun, done')
    expect({ attemptsUsed, attempts }).toEqual({ attemptsUsed: 1, attempts: [{ status }] })
    expect(events.edges.map(({ node }) => node.version)).toEqual(
      Array.from({ length: version }, (_, index) => index + 1),
    )
    const types = events.edges.map(({ node }) => node.type).filter((type) => type !== 'CANCEL_REQUESTED')
    expect(types).toEqual(['CREATED', 'STARTED', status])
    expect(events.edges.at(-1)?.node.status).toBe(status)
  }
})

test('cancelled by many at once, a task is asked to stop once and ends once', async () => {
  const {
    ids: [id = ''],
    letGo,
  } = await startHeldTasks(1)

  const answers = await Promise.all(Array.from({ length: 20 }, () => cancel(id)))
  const task = await ended(id)
  letGo()

  expect(answers.every(({ cancelTask }) => ['RUNNING', 'CANCELLED'].includes(cancelTask.task.status))).toBe(true)
  expect(task.events.edges.map(({ node }) => node.type)).toEqual([
    'CREATED',
    'STARTED',
    'CANCEL_REQUESTED',
    'CANCELLED',
  ])
  expect(task).toMatchObject({ status: 'CANCELLED', output: 'begun', attempts: [{ status: 'CANCELLED' }] })
})
