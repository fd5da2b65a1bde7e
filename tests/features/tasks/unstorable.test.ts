import { afterAll, beforeAll, expect, test } from 'vitest'
import { startTestApp, type TestApp, type TestUser } from '../../support/test-app.ts'
import {
  answer,
  data,
  finish,
  httpError,
  startModelServer,
  stream,
  text,
  type ModelServer,
} from '../../support/model-server.ts'
import { createReader } from '../../support/task-reader.ts'

// What providers send and Postgres refuses: NUL, half a surrogate pair, numbers that are no integers.

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

type Ended = {
  status: string
  outputJson: unknown
  error: { code: string; message: string } | null
  attempts: { status: string; modelAttempts: { outcome: string; message: string | null }[] }[]
}

// Each with a circuit breaker of its own.
let modelCount = 0
const freshModels = (): string[] => [`openai/test-model-${(modelCount += 1)}`]

async function run(agent: Record<string, unknown> = {}): Promise<Ended> {
  const { createAgent } = await app.data<{ createAgent: { agent: { id: string } } }>(
    'mutation ($input: CreateAgentInput!) { createAgent(input: $input) { agent { id } } }',
    {
      input: {
        name: 'Agent',
        instructions: 'You are terse.',
        models: freshModels(),
        retryPolicy: { initialDelayMs: 0, maxDelayMs: 0, maxAttempts: 2 },
        ...agent,
      },
    },
    { token: user.token },
  )
  const { createTask } = await app.data<{ createTask: { task: { id: string } } }>(
    'mutation ($input: CreateTaskInput!) { createTask(input: $input) { task { id } } }',
    { input: { agentId: createAgent.agent.id, prompt: 'Go.' } },
    { token: user.token },
  )
  const { id } = createTask.task
  await createReader(id).read(app, user.token)
  const { task } = await app.data<{ task: Ended }>(
    `query ($id: ID!) { task(id: $id) { status outputJson error { code message }
       attempts { status modelAttempts { outcome message } } } }`,
    { id },
    { token: user.token },
  )
  return task
}

test('a value of an answer with NUL or half a surrogate pair is stored with replacements', async () => {
  models.reply(answer('{"a\\u0000": ["b\\u0000", "\\ud83d", "\\ud83d\\ude00"]}'))

  expect(await run({ outputSchema: { type: 'object' } })).toMatchObject({
    status: 'SUCCEEDED',
    outputJson: { 'a\ufffd': ['b\ufffd', '\ufffd', '😀'] },
  })
})

test('a provider that names its model in unstorable text does not keep the task from ending', async () => {
  const model = 'v\u00001\ud83d'
  models.reply(
    stream(
      data({ model, choices: [{ index: 0, delta: { role: 'assistant' }, finish_reason: null }] }),
      text('Hi.'),
      finish(),
    ),
  )

  expect(await run()).toMatchObject({
    status: 'SUCCEEDED',
    attempts: [{ status: 'SUCCEEDED', modelAttempts: [{ outcome: 'succeeded', message: null }] }],
  })
})

test('a provider that complains in unstorable text does not keep the task from ending', async () => {
  models.reply(
    httpError(400, { message: `bad \ud83d\u0000 ${'x'.repeat(480)}${'😀'.repeat(20)}`, type: 'invalid_request_error' }),
  )

  expect(await run()).toMatchObject({ status: 'FAILED', error: { code: 'BAD_REQUEST' } })
})

test.each(['1.5', '0.25', '-3'])('a provider that wants %s ms of rest gets a retry', async (ms) => {
  const busy = httpError(503, { message: 'busy' }, { 'retry-after-ms': ms })
  models.reply(busy, busy, busy, answer('There.'))

  expect(await run()).toMatchObject({ status: 'SUCCEEDED', attempts: [{ status: 'FAILED' }, { status: 'SUCCEEDED' }] })
})

test('a completion of such a provider is given and recorded', async () => {
  const choices = [{ index: 0, delta: { content: 'Hi.' }, finish_reason: 'st\u0000op\ud83d' }]
  models.reply(stream(data({ model: 'v\u00001', choices })))

  const { complete } = await app.data<{ complete: { text: string } }>(
    'mutation ($input: CompletionInput!) { complete(input: $input) { text } }',
    { input: { prompt: 'Go.', models: freshModels() } },
    { token: user.token },
  )

  expect(complete).toEqual({ text: 'Hi.' })
  const [row] = await app.services.db.prisma.completion.findMany({ include: { modelAttempts: true } })
  expect(row).toMatchObject({
    status: 'SUCCEEDED',
    finishReason: 'st\ufffdop\ufffd',
    modelAttempts: [{ modelVersion: 'v\ufffd1' }],
  })
})

test('a completion says in whole milliseconds when to try again', async () => {
  const busy = httpError(503, { message: 'busy \ud83d' }, { 'retry-after-ms': '1.5' })
  models.reply(busy, busy, busy)

  const events = []
  for await (const { data: event, errors } of app.subscribe<{ completion: object }>(
    'subscription ($input: CompletionInput!) { completion(input: $input) { __typename ... on CompletionFailed { retryAfterMs } } }',
    { input: { prompt: 'Go.', models: freshModels() } },
    { token: user.token },
  )) {
    expect(errors).toBeUndefined()
    events.push(event?.completion)
  }

  expect(events.at(-1)).toEqual({ __typename: 'CompletionFailed', retryAfterMs: 2 })
})
