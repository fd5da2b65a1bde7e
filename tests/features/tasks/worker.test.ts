import { afterAll, beforeAll, expect, test } from 'vitest'
import { startTestApp, type TestApp, type TestUser } from '../../support/test-app.ts'
import {
  answer,
  chunk,
  cut,
  hold,
  httpError,
  silence,
  stall,
  startModelServer,
  stream,
  text,
  finish,
  type ModelServer,
} from '../../support/model-server.ts'
import { createReader } from '../../support/task-reader.ts'
import { until } from '../../support/until.ts'

let models: ModelServer
let app: TestApp
let user: TestUser

beforeAll(async () => {
  models = await startModelServer()
  app = await startTestApp({
    env: {
      OPENAI_API_KEY: 'none',
      OPENAI_BASE_URL: models.baseUrl,
      AI_DEFAULT_MODELS: 'openai/test-model',
      AI_FIRST_TOKEN_TIMEOUT_MS: '3000',
    },
  })
  user = await app.signUp()
})

afterAll(async () => {
  await app[Symbol.asyncDispose]()
  await models[Symbol.asyncDispose]()
})

type Task = {
  id: string
  status: string
  statusReason: string | null
  output: string | null
  attempt: number
  attemptsUsed: number
  error: { code: string; message: string; retryable: boolean } | null
  attempts: { number: number; status: string; model: string | null; modelAttempts: { outcome: string }[] }[]
  usage: { inputTokens: number; outputTokens: number; estimated: boolean }
  finishedAt: string | null
}

const taskFields = `id status statusReason output attempt attemptsUsed finishedAt
  error { code message retryable }
  attempts { number status model modelAttempts { outcome } }
  usage { inputTokens outputTokens estimated }`

async function createAgent(input: Record<string, unknown> = {}): Promise<string> {
  const { createAgent: payload } = await app.data<{ createAgent: { agent: { id: string } } }>(
    'mutation ($input: CreateAgentInput!) { createAgent(input: $input) { agent { id } } }',
    {
      input: {
        name: 'Agent',
        instructions: 'You are terse.',
        retryPolicy: { initialDelayMs: 0, maxDelayMs: 0 },
        ...input,
      },
    },
    { token: user.token },
  )
  return payload.agent.id
}

async function submit(agentId: string, input: Record<string, unknown> = {}): Promise<string> {
  const { createTask } = await app.data<{ createTask: { task: { id: string } } }>(
    'mutation ($input: CreateTaskInput!) { createTask(input: $input) { task { id } } }',
    { input: { agentId, prompt: 'Go.', ...input } },
    { token: user.token },
  )
  return createTask.task.id
}

async function read(id: string): Promise<Task> {
  const { task } = await app.data<{ task: Task }>(
    `query ($id: ID!) { task(id: $id) { ${taskFields} } }`,
    { id },
    { token: user.token },
  )
  return task
}

/** Watches the task to its end, as a client would. */
async function ended(id: string): Promise<Task> {
  await createReader(id).read(app, user.token)
  return read(id)
}

test('runs a task to its end, and says what it used', async () => {
  models.reply(answer('Hello', ' there', '.'))
  const task = await ended(await submit(await createAgent(), { input: { name: 'Ada' } }))

  expect(task).toMatchObject({
    status: 'SUCCEEDED',
    statusReason: null,
    output: 'Hello there.',
    attempt: 1,
    attemptsUsed: 1,
    error: null,
    attempts: [
      { number: 1, status: 'SUCCEEDED', model: 'openai/test-model', modelAttempts: [{ outcome: 'succeeded' }] },
    ],
    usage: { inputTokens: 11, outputTokens: 3, estimated: false },
  })
  expect(models.requests.at(-1)?.body['messages']).toEqual([
    { role: 'system', content: 'You are terse.' },
    { role: 'user', content: 'Go.\n\nInput (JSON):\n{\n  "name": "Ada"\n}' },
  ])
})

test('tries again after an error that may pass, and records both attempts', async () => {
  models.reply(silence, answer('Late.'))
  const task = await ended(await submit(await createAgent()))

  expect(task).toMatchObject({ status: 'SUCCEEDED', output: 'Late.', attempt: 2, attemptsUsed: 2, error: null })
  expect(
    task.attempts.map(({ status, modelAttempts }) => [status, modelAttempts.map(({ outcome }) => outcome)]),
  ).toEqual([
    ['FAILED', ['first_token_timeout']],
    ['SUCCEEDED', ['succeeded']],
  ])
})

test('waits out the backoff as SCHEDULED, and says why', async () => {
  models.reply(silence)
  const retryPolicy = { initialDelayMs: 600_000, maxDelayMs: 600_000, maxAttempts: 2 }
  const id = await submit(await createAgent({ retryPolicy }))

  const task = await until(
    'the task waits for its retry',
    () => read(id),
    ({ status }) => status === 'SCHEDULED',
  )

  expect(task).toMatchObject({ attempt: 1, error: { code: 'FIRST_TOKEN_TIMEOUT', retryable: true } })
  expect(task.statusReason).not.toBeNull()
})

test('fails at once on an error that will not pass', async () => {
  models.reply(httpError(400, { message: 'no such parameter', type: 'invalid_request_error' }))
  const task = await ended(await submit(await createAgent()))

  expect(task).toMatchObject({ status: 'FAILED', attempt: 1, error: { code: 'BAD_REQUEST', retryable: false } })
})

test('fails after the last attempt, with the text so far', async () => {
  models.reply(stream(chunk({ role: 'assistant' }), text('half an ans'), stall))
  const task = await ended(await submit(await createAgent(), { timeoutMs: 1_000, maxAttempts: 1 }))

  expect(task).toMatchObject({
    status: 'FAILED',
    output: 'half an ans',
    error: { code: 'TIMEOUT', message: 'The attempt took longer than 1000 ms.', retryable: true },
    usage: { estimated: true },
  })
  await models.requests.at(-1)?.closed
  expect(models.requests.at(-1)?.hungUp).toBe(true)
})

test('cancels a running task: the model call is aborted, the text so far is kept and paid for', async () => {
  models.reply(stream(chunk({ role: 'assistant' }), text('so far'), stall))
  const id = await submit(await createAgent())
  const reader = createReader(id)
  await reader.read(app, user.token, ({ text: soFar }) => soFar === 'so far')

  await app.data(
    'mutation ($input: CancelTaskInput!) { cancelTask(input: $input) { task { id } } }',
    { input: { id, reason: 'enough' } },
    { token: user.token },
  )
  const task = await ended(id)

  expect(task).toMatchObject({
    status: 'CANCELLED',
    statusReason: 'enough',
    output: 'so far',
    usage: { estimated: true },
  })
  await models.requests.at(-1)?.closed
  expect(models.requests.at(-1)?.hungUp).toBe(true)
  const audited = await app.services.db.prisma.auditEvent.findFirst({ where: { action: 'task.cancelled' } })
  expect(audited).toMatchObject({ actorId: expect.any(String), ip: '127.0.0.1', requestId: expect.any(String) })
})

test('cancelling twice, or after the end, changes nothing', async () => {
  models.reply(answer('Done.'))
  const id = await submit(await createAgent())
  const before = await ended(id)

  const { cancelTask } = await app.data<{ cancelTask: { task: Task } }>(
    `mutation ($input: CancelTaskInput!) { cancelTask(input: $input) { task { ${taskFields} } } }`,
    { input: { id } },
    { token: user.token },
  )

  expect(cancelTask.task).toEqual(before)
})

test('runs no more tasks of an agent at once than its concurrency', async () => {
  let letGo = (): void => undefined
  const released = new Promise<void>((resolve) => (letGo = resolve))
  const before = models.requests.length
  models.reply(
    ...Array.from({ length: 6 }, () => stream(chunk({ role: 'assistant' }), text('x'), hold(released), finish())),
  )
  const agentId = await createAgent({ concurrency: 2 })
  const ids = await Promise.all(Array.from({ length: 6 }, () => submit(agentId)))

  const tasks = await until(
    'two of them run',
    () => Promise.all(ids.map(read)),
    (all) => all.filter(({ output }) => output === 'x').length === 2,
  )
  expect(tasks.filter(({ status }) => status === 'QUEUED').map(({ statusReason }) => statusReason)).toEqual(
    Array.from({ length: 4 }, () => expect.stringContaining('2/2')),
  )
  expect(models.requests.length - before).toBe(2)

  letGo()
  const all = await Promise.all(ids.map(ended))
  expect(all.map(({ status }) => status)).toEqual(Array.from({ length: 6 }, () => 'SUCCEEDED'))
})

test('pauses and resumes an agent', async () => {
  const agentId = await createAgent()
  const change = (mutation: string) =>
    app.data(
      `mutation ($input: AgentInput!) { ${mutation}(input: $input) { agent { status } } }`,
      { input: { id: agentId } },
      { token: user.token },
    )
  await change('pauseAgent')
  const id = await submit(agentId)
  expect(await read(id)).toMatchObject({ status: 'QUEUED', statusReason: expect.stringContaining('paused') })

  models.reply(answer('At last.'))
  await change('resumeAgent')

  expect(await ended(id)).toMatchObject({ status: 'SUCCEEDED' })
})

test('archiving an agent cancels its waiting tasks and refuses new ones', async () => {
  const agentId = await createAgent()
  const later = await submit(agentId, { runAt: new Date(Date.now() + 3_600_000).toISOString() })
  expect(await read(later)).toMatchObject({ status: 'SCHEDULED' })

  await app.data(
    'mutation ($input: AgentInput!) { archiveAgent(input: $input) { agent { id } } }',
    { input: { id: agentId } },
    { token: user.token },
  )
  const { errors } = await app.graphql(
    'mutation ($input: CreateTaskInput!) { createTask(input: $input) { task { id } } }',
    { input: { agentId, prompt: 'Go.' } },
    { token: user.token },
  )

  expect(await read(later)).toMatchObject({ status: 'CANCELLED', statusReason: 'The agent was archived.' })
  expect(errors?.map(({ extensions }) => extensions.code)).toEqual(['CONFLICT'])
})

test('runs a scheduled task when it is due', async () => {
  models.reply(answer('On time.'))
  const id = await submit(await createAgent(), { runAt: new Date(Date.now() + 700).toISOString() })
  expect(await read(id)).toMatchObject({ status: 'SCHEDULED' })

  expect(await ended(id)).toMatchObject({ status: 'SUCCEEDED', output: 'On time.' })
})

test('stores text that Postgres cannot, with replacements', async () => {
  models.reply(answer('a\u0000b', '\ud83d', '\ude00', '\ud83d!'))

  expect((await ended(await submit(await createAgent()))).output).toBe('a\ufffdb😀\ufffd!')
})

test('an empty answer leaves nothing of what came before it', async () => {
  models.reply(
    stream(chunk({ role: 'assistant' }), text('half an ans'), cut),
    stream(chunk({ role: 'assistant' }), finish()),
  )
  const id = await submit(await createAgent())
  const reader = createReader(id)
  await reader.read(app, user.token)

  expect(await read(id)).toMatchObject({ status: 'SUCCEEDED', output: '' })
  expect(reader.text).toBe('')
})

test('gives the same task for the same idempotency key, and refuses another body', async () => {
  models.replyAlways(answer('Once.'))
  const agentId = await createAgent()
  const ids = await Promise.all(Array.from({ length: 10 }, () => submit(agentId, { idempotencyKey: 'k' })))
  const { errors } = await app.graphql(
    'mutation ($input: CreateTaskInput!) { createTask(input: $input) { task { id } } }',
    { input: { agentId, prompt: 'Something else.', idempotencyKey: 'k' } },
    { token: user.token },
  )

  expect(new Set(ids).size).toBe(1)
  expect(errors?.map(({ extensions }) => [extensions.code, extensions.details['field']])).toEqual([
    ['CONFLICT', 'input.idempotencyKey'],
  ])
})

test('gives the task of an idempotency key also when its agent was archived meanwhile', async () => {
  const agentId = await createAgent()
  const later = { idempotencyKey: 'archived', runAt: new Date(Date.now() + 3_600_000).toISOString() }
  const id = await submit(agentId, later)
  await app.data(
    'mutation ($input: AgentInput!) { archiveAgent(input: $input) { agent { id } } }',
    { input: { id: agentId } },
    { token: user.token },
  )

  expect(await submit(agentId, later)).toBe(id)
})
