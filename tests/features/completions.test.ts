import { afterAll, beforeAll, expect, test } from 'vitest'
import { startTestApp, type TestApp, type TestUser } from '../support/test-app.ts'
import {
  answer,
  chunk,
  cut,
  finish,
  httpError,
  stall,
  startModelServer,
  stream,
  text,
  type ModelServer,
} from '../support/model-server.ts'
import { until } from '../support/until.ts'

let models: ModelServer
let app: TestApp
let user: TestUser

beforeAll(async () => {
  models = await startModelServer()
  const providers = ['first', 'second'].map((name) => ({ name, baseUrl: models.baseUrl, apiKey: 'none' }))
  app = await startTestApp({ env: { AI_PROVIDERS: JSON.stringify(providers), AI_DEFAULT_MODELS: 'first/a,second/b' } })
  user = await app.signUp()
})

afterAll(async () => {
  await app[Symbol.asyncDispose]()
  await models[Symbol.asyncDispose]()
})

const complete = `mutation ($input: CompletionInput!) {
  complete(input: $input) {
    text json model finishReason cached usage { inputTokens outputTokens estimated } attempts { model outcome }
  }
}`

const completion = `subscription ($input: CompletionInput!) {
  completion(input: $input) {
    __typename
    ... on CompletionStarted { model }
    ... on CompletionDelta { offset text }
    ... on CompletionReset { model reason }
    ... on CompletionFinished { completion { text model attempts { model outcome } } }
    ... on CompletionFailed { code message partialText attempts { outcome } }
  }
}`

type Event = { __typename: string } & Record<string, unknown>

async function streamed(input: Record<string, unknown>): Promise<Event[]> {
  const events: Event[] = []
  for await (const { data, errors } of app.subscribe<{ completion: Event }>(
    completion,
    { input },
    { token: user.token },
  )) {
    if (errors !== undefined) throw new Error(JSON.stringify(errors))
    if (data !== undefined && data !== null) events.push(data.completion)
  }
  return events
}

test('gives the whole answer, with the conversation before the prompt', async () => {
  models.reply(answer('Four', '.'))

  const { data } = await app.graphql(
    complete,
    {
      input: {
        prompt: 'And doubled?',
        messages: [
          { role: 'SYSTEM', content: 'Be terse.' },
          { role: 'ASSISTANT', content: 'Two.' },
        ],
      },
    },
    { token: user.token },
  )

  expect(data?.['complete']).toEqual({
    text: 'Four.',
    json: null,
    model: 'first/a',
    finishReason: 'stop',
    cached: false,
    usage: { inputTokens: 11, outputTokens: 2, estimated: false },
    attempts: [{ model: 'first/a', outcome: 'succeeded' }],
  })
  expect(models.requests.at(-1)?.body['messages']).toEqual([
    { role: 'system', content: 'Be terse.' },
    { role: 'assistant', content: 'Two.' },
    { role: 'user', content: 'And doubled?' },
  ])
})

test('streams the answer, with the offset of every piece', async () => {
  models.reply(answer('Hi', ' 👋', ' you'))

  expect(await streamed({ prompt: 'Hello?' })).toEqual([
    { __typename: 'CompletionStarted', model: 'first/a' },
    { __typename: 'CompletionDelta', offset: 0, text: 'Hi' },
    { __typename: 'CompletionDelta', offset: 2, text: ' 👋' },
    { __typename: 'CompletionDelta', offset: 5, text: ' you' },
    {
      __typename: 'CompletionFinished',
      completion: { text: 'Hi 👋 you', model: 'first/a', attempts: [{ model: 'first/a', outcome: 'succeeded' }] },
    },
  ])
})

test('says so when an answer breaks off and another model begins', async () => {
  models.reply(stream(chunk({ role: 'assistant' }), text('half'), cut), answer('Whole.'))

  const events = await streamed({ prompt: 'Hello?' })

  expect(events.map(({ __typename }) => __typename)).toEqual([
    'CompletionStarted',
    'CompletionDelta',
    'CompletionReset',
    'CompletionDelta',
    'CompletionFinished',
  ])
  expect(events.at(-1)).toMatchObject({ completion: { text: 'Whole.', model: 'second/b' } })
})

test('fails with the partial text when it is to fail rather than begin again', async () => {
  models.reply(stream(chunk({ role: 'assistant' }), text('half'), cut))

  expect((await streamed({ prompt: 'Hello?', onInterrupt: 'ERROR' })).at(-1)).toMatchObject({
    __typename: 'CompletionFailed',
    code: 'INTERRUPTED',
    partialText: 'half',
    attempts: [{ outcome: 'interrupted' }],
  })
})

test('is an error of the mutation when no model answers', async () => {
  models.reply(httpError(401, { message: 'bad key' }), httpError(403, { message: 'not you' }))

  // Models of their own: they are not asked again for a while.
  const input = { prompt: 'Hello?', models: ['first/ill', 'second/ill'] }
  const { errors } = await app.graphql(complete, { input }, { token: user.token })

  expect(errors?.map(({ extensions }) => [extensions.code, extensions.details['kind']])).toEqual([
    ['MODEL_FAILED', 'authentication_failed'],
  ])
})

test('a subscriber that leaves aborts the call, and what it cost is recorded', async () => {
  models.reply(stream(chunk({ role: 'assistant' }), text('one two three'), stall))
  const { services } = app
  const before = await services.db.prisma.usageRecord.count()
  for await (const { data } of app.subscribe<{ completion: Event }>(
    completion,
    { input: { prompt: 'Hello?' } },
    { token: user.token },
  )) {
    if (data?.completion.__typename === 'CompletionDelta') break
  }

  await models.requests.at(-1)?.closed
  expect(models.requests.at(-1)?.hungUp).toBe(true)
  await until(
    'the call is in the ledger',
    () => services.db.prisma.usageRecord.count(),
    (count) => count === before + 1,
  )
  const recorded = await services.db.prisma.completion.findFirst({ orderBy: { createdAt: 'desc' } })
  expect(recorded).toMatchObject({ status: 'CANCELLED', userId: expect.any(String), text: null })
})

test('checks structured answers, has one repaired, and then goes on to the next model', async () => {
  models.reply(
    answer('{"n":"four"}'),
    answer('{"n":"4"}'),
    stream(chunk({ role: 'assistant' }), text('{"n":4}'), finish()),
  )
  const outputSchema = { type: 'object', properties: { n: { type: 'integer' } }, required: ['n'] }

  const { data } = await app.graphql(complete, { input: { prompt: 'Count.', outputSchema } }, { token: user.token })

  expect(data?.['complete']).toMatchObject({
    json: { n: 4 },
    model: 'second/b',
    attempts: [{ outcome: 'invalid_output' }, { outcome: 'invalid_output' }, { outcome: 'succeeded' }],
  })
})

test('answers the same question at temperature 0 from the cache', async () => {
  models.reply(answer('Four', '.'))
  const input = { prompt: 'Two and two?', temperature: 0 }
  const before = models.requests.length

  await app.graphql(complete, { input }, { token: user.token })
  const { data } = await app.graphql(complete, { input }, { token: user.token })

  expect(data?.['complete']).toMatchObject({
    text: 'Four.',
    cached: true,
    usage: { inputTokens: 0, outputTokens: 0 },
    attempts: [{ model: 'first/a', outcome: 'cached' }],
  })
  expect(models.requests).toHaveLength(before + 1)
  const fresh = { ...input, cache: { forceRefresh: true } }
  models.reply(answer('4'))
  expect((await app.graphql(complete, { input: fresh }, { token: user.token })).data?.['complete']).toMatchObject({
    text: '4',
    cached: false,
  })
})

test.each([
  ['a time to keep that is too long', { prompt: 'x', cache: { ttlSeconds: 2_592_001 } }, 'input.cache.ttlSeconds'],
  ['neither prompt nor messages', {}, 'input.prompt'],
  ['an empty prompt', { prompt: '' }, 'input.prompt'],
  ['a prompt that is too long', { prompt: 'x'.repeat(262_145) }, 'input.prompt'],
  ['an unknown model', { prompt: 'x', models: ['first/a', 'nobody/x'] }, 'input.models.1'],
  ['a temperature out of range', { prompt: 'x', temperature: 3 }, 'input.temperature'],
  ['no answer at all', { prompt: 'x', maxOutputTokens: 0 }, 'input.maxOutputTokens'],
  ['a schema that is none', { prompt: 'x', outputSchema: { type: 'nonsense' } }, 'input.outputSchema'],
])('refuses %s, naming the field', async (_what, input, field) => {
  const { errors } = await app.graphql(complete, { input }, { token: user.token })

  expect(errors?.map(({ extensions }) => [extensions.code, extensions.details['field']])).toEqual([
    ['BAD_USER_INPUT', field],
  ])
})
