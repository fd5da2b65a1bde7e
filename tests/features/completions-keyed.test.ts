import { afterAll, beforeAll, beforeEach, expect, inject, test } from 'vitest'
import type { CompletionTimings } from '../../src/features/completions/completion-leases.ts'
import { newId } from '../../src/lib/ids.ts'
import { startTestApp, type TestApp, type TestUser } from '../support/test-app.ts'
import {
  answer,
  chunk,
  cut,
  done,
  finish,
  hold,
  httpError,
  startModelServer,
  stream,
  text,
  usage,
  type ModelServer,
} from '../support/model-server.ts'
import { createServerDatabase, redisUrlOf } from '../support/test-servers.ts'
import { until } from '../support/until.ts'

// Two processes, when there are servers that they can share; else both are the same.
let models: ModelServer
let app: TestApp
let other: TestApp
let user: TestUser
const disposables: AsyncDisposable[] = []
let keys = 0
const newKey = (): string => `key-${(keys += 1)}`

const timings: Partial<CompletionTimings> = { leaseMs: 10_000, beatMs: 100, unwantedMs: 500 }

beforeAll(async () => {
  models = await startModelServer()
  disposables.push(models)
  const providers = ['first', 'second'].map((name) => ({ name, baseUrl: models.baseUrl, apiKey: 'none' }))
  const servers = inject('testServers')
  const env: Record<string, string> = {
    AI_PROVIDERS: JSON.stringify(providers),
    AI_DEFAULT_MODELS: 'first/a,second/b',
    AI_FIRST_TOKEN_TIMEOUT_MS: '60000',
    AI_IDLE_TIMEOUT_MS: '60000',
  }
  if (servers !== undefined) {
    const database = await createServerDatabase(servers)
    disposables.push(database)
    Object.assign(env, { DATABASE_URL: database.url, REDIS_URL: redisUrlOf(servers) })
  }
  const start = () => startTestApp({ env, overrides: { completionTimings: timings } })
  app = await start()
  disposables.push(app)
  other = servers === undefined ? app : await start()
  if (other !== app) disposables.push(other)
  user = await app.signUp()
}, 60_000)

afterAll(async () => {
  for (const each of disposables.toReversed()) await each[Symbol.asyncDispose]()
})

// Nothing is left of the test before.
beforeEach(() => models.replyAlways(httpError(599, { message: 'the test told no reply' })))

const completion = `subscription ($input: CompletionInput!, $after: String) {
  completion(input: $input, after: $after) {
    __typename
    ... on CompletionStarted { completionId model cached }
    ... on CompletionDelta { cursor offset text }
    ... on CompletionReset { model reason }
    ... on CompletionFinished { completion { id text model cached finishReason usage { inputTokens outputTokens } attempts { model outcome } } }
    ... on CompletionFailed { code message partialText attempts { outcome } }
  }
}`

type Event = { __typename: string; text?: string; cursor?: string; offset?: number } & Record<string, unknown>
type Input = { prompt: string; key?: string } & Record<string, unknown>

/** What a subscriber hears; `isOver` tells when to leave. */
async function listen(
  server: TestApp,
  input: Input,
  { after = null, isOver = () => false }: { after?: string | null; isOver?: (event: Event) => boolean } = {},
): Promise<Event[]> {
  const events: Event[] = []
  for await (const { data, errors } of server.subscribe<{ completion: Event }>(
    completion,
    { input, after },
    { token: user.token },
  )) {
    if (errors !== undefined) throw new Error(errors.map(({ extensions }) => extensions.code).join())
    if (data === undefined || data === null) continue
    events.push(data.completion)
    if (isOver(data.completion)) break
  }
  return events
}

const namesOf = (events: readonly Event[]): string[] => events.map(({ __typename }) => __typename)
/** The text of one answer: what came before a reset is dropped. */
function textOf(events: readonly Event[]): string {
  let said = ''
  for (const event of events) {
    if (event.__typename === 'CompletionReset') said = ''
    if (event.__typename === 'CompletionDelta') said += event.text ?? ''
  }
  return said
}

async function ask(server: TestApp, document: string, variables: Record<string, unknown>) {
  const { data, errors } = await server.graphql(document, variables, { token: user.token })
  return { data: JSON.parse(JSON.stringify(data ?? {})), code: errors?.[0]?.extensions.code }
}

const complete =
  'mutation ($input: CompletionInput!) { complete(input: $input) { id text model attempts { outcome } } }'
const byKey = 'query ($key: String!) { completion(key: $key) { id text model } }'

/** A reply that waits in its middle until it is let go. */
function held(before: string, after: string) {
  let go = (): void => undefined
  const letGo = new Promise<void>((resolve) => (go = resolve))
  const reply = stream(
    chunk({ role: 'assistant' }),
    text(before),
    hold(letGo),
    text(after),
    finish(),
    usage(3, 2),
    done,
  )
  return { reply, go }
}

test('goes on behind the cursor after a lost connection, on another process, with no gap and no duplicate', async () => {
  const { reply, go } = held('Hello, ', 'world 👋')
  models.reply(reply)
  const input = { prompt: 'Hello?', key: newKey() }
  const before = models.requests.length

  const first = await listen(app, input, { isOver: ({ __typename }) => __typename === 'CompletionDelta' })
  const cursor = first.at(-1)?.cursor ?? ''
  const rest = listen(other, input, { after: cursor })
  go()
  const events = await rest

  expect(namesOf(first)).toEqual(['CompletionStarted', 'CompletionDelta'])
  expect(events[0]).toMatchObject({ __typename: 'CompletionDelta', offset: 7 })
  expect(textOf([...first, ...events])).toBe('Hello, world 👋')
  expect(events.at(-1)).toMatchObject({
    __typename: 'CompletionFinished',
    completion: {
      text: 'Hello, world 👋',
      model: 'first/a',
      cached: false,
      finishReason: 'stop',
      usage: { inputTokens: 3, outputTokens: 2 },
      attempts: [{ model: 'first/a', outcome: 'succeeded' }],
    },
  })
  expect(models.requests).toHaveLength(before + 1)
})

test('tells a finished one again: from the start, from a cursor, as a mutation and as a query', async () => {
  models.reply(answer('One ', 'two ', 'three'))
  const input = { prompt: 'Count.', key: newKey() }
  const live = await listen(app, input)

  const replay = await listen(other, input)
  expect(textOf(replay)).toBe('One two three')
  expect(replay.at(-1)).toEqual(live.at(-1))
  expect(replay[0]).toEqual(live[0])
  const last = replay.findLast(({ __typename }) => __typename === 'CompletionDelta')
  expect(await listen(other, input, { after: last?.cursor ?? null })).toEqual([live.at(-1)])
  const id = live[0]?.['completionId']
  expect((await ask(other, complete, { input })).data.complete).toMatchObject({ id, text: 'One two three' })
  expect((await ask(other, byKey, { key: input.key })).data.completion).toEqual({
    id,
    text: 'One two three',
    model: 'first/a',
  })
})

test('50 who ask at once with the same key share one call', { timeout: 60_000 }, async () => {
  const { reply, go } = held('Shared ', 'answer.')
  models.reply(reply)
  const input = { prompt: 'Hello?', key: newKey() }
  const before = models.requests.length

  const asked = Array.from({ length: 50 }, (_, n) => ask(n % 2 === 0 ? app : other, complete, { input }))
  await until(
    'the model is asked',
    async () => models.requests.length,
    (count) => count > before,
  )
  go()
  const answers = await Promise.all(asked)

  expect(new Set(answers.map(({ data }) => data.complete?.id)).size).toBe(1)
  expect(answers.every(({ data }) => data.complete?.text === 'Shared answer.')).toBe(true)
  expect(models.requests).toHaveLength(before + 1)
})

test('says so when another model begins, also to whoever comes back with the text of the first', async () => {
  const { reply, go } = held('Whole', '.')
  // It breaks off when its first half has been heard: before that it might never be told.
  let breakOff = (): void => undefined
  const heard = new Promise<void>((resolve) => (breakOff = resolve))
  models.reply(stream(chunk({ role: 'assistant' }), text('half'), hold(heard), cut), reply)
  const input = { prompt: 'Hello?', key: newKey() }

  const first = await listen(app, input, { isOver: ({ text: said }) => said === 'half' })
  const events = listen(other, input, { after: first.at(-1)?.cursor ?? null })
  breakOff()
  go()

  expect(namesOf(await events)[0]).toBe('CompletionReset')
  expect(textOf([...first, ...(await events)])).toBe('Whole.')
})

test('is aborted when nobody has listened for a while, and begins again for whoever comes back', async () => {
  const { reply } = held('Never', 'heard')
  models.reply(reply)
  const input = { prompt: 'Hello?', key: newKey() }
  const first = await listen(app, input, { isOver: ({ __typename }) => __typename === 'CompletionDelta' })
  const upstream = models.requests.at(-1)

  await upstream?.closed
  expect(upstream?.hungUp).toBe(true)
  const { db } = app.services
  const row = await until(
    'it has ended',
    () => db.prisma.completion.findFirst({ where: { key: input.key } }),
    (found) => found?.status === 'CANCELLED',
  )
  expect(row).toMatchObject({ errorCode: 'ABORTED', text: 'Never' })
  expect(await db.prisma.usageRecord.count({ where: { completionId: row?.id ?? '' } })).toBe(1)

  models.reply(answer('Again.'))
  const events = await listen(other, input, { after: first.at(-1)?.cursor ?? null })
  expect(namesOf(events)).toEqual(['CompletionReset', 'CompletionDelta', 'CompletionFinished'])
  expect(textOf(events)).toBe('Again.')
})

test('goes on while somebody listens, wherever', { timeout: 30_000 }, async () => {
  const { reply, go } = held('Slow', ' answer')
  models.reply(reply)
  const input = { prompt: 'Hello?', key: newKey() }
  const events = listen(other, input)
  await listen(app, input, { isOver: ({ __typename }) => __typename === 'CompletionDelta' })
  const { db } = app.services
  const wantedAt = async () =>
    (await db.prisma.completion.findFirst({ where: { key: input.key } }))?.wantedAt?.getTime()
  const start = (await wantedAt()) ?? 0
  // Longer than it would go on with nobody listening.
  await until(
    'time has passed',
    async () => (await wantedAt()) ?? 0,
    (at) => at > start + 1_500,
  )
  go()

  expect(textOf(await events)).toBe('Slow answer')
})

test('is run again by whoever listens when its process is lost, never as a mixture', async () => {
  const { db } = app.services
  const input = { prompt: 'Hello?', key: newKey() }
  const id = await leaveBehind(input)
  models.reply(answer('From the start.'))

  const events = await listen(other, input)

  expect(events[0]).toMatchObject({ __typename: 'CompletionStarted', completionId: id })
  expect(textOf(events)).toBe('From the start.')
  expect(await db.prisma.completionChunk.count({ where: { completionId: id } })).toBe(0)
})

test('fails instead, with the text so far, when it is not to begin again', async () => {
  const input = { prompt: 'Hello?', key: newKey(), onInterrupt: 'ERROR' }
  await leaveBehind(input)

  const events = await listen(other, input)

  expect(events.at(-1)).toMatchObject({
    __typename: 'CompletionFailed',
    code: 'INTERRUPTED',
    partialText: 'half of it',
  })
  expect((await ask(app, complete, { input })).code).toBe('MODEL_FAILED')
})

/** A completion with a key, as a process that was killed in its middle leaves it. */
async function leaveBehind(input: Input): Promise<string> {
  const { db } = app.services
  const { reply, go } = held('half', ' of it')
  models.reply(reply)
  go()
  await listen(app, input)
  const { id } = await db.prisma.completion.findFirstOrThrow({ where: { key: input.key ?? '' } })
  await db.prisma.completion.update({
    where: { id },
    data: { status: 'RUNNING', leaseToken: newId(), leaseExpiresAt: new Date(0), text: null, finishedAt: null },
  })
  await db.prisma.completionSegment.updateMany({ where: { completionId: id }, data: { length: null } })
  await db.prisma.completionChunk.create({
    data: { completionId: id, segment: 1, offset: 0, length: 10, text: 'half of it' },
  })
  return id
}

test('tells a failure again, and does not ask the models again', async () => {
  models.reply(httpError(401, { message: 'bad key' }), httpError(403, { message: 'not you' }))
  // Models of their own: they are not asked again for a while.
  const input = { prompt: 'Hello?', key: newKey(), models: ['first/ill', 'second/ill'] }
  const first = await listen(app, input)
  const before = models.requests.length

  expect(first.at(-1)).toMatchObject({ __typename: 'CompletionFailed', code: 'AUTHENTICATION_FAILED' })
  expect(await listen(other, input)).toEqual(first)
  expect((await ask(other, byKey, { key: input.key })).code).toBe('MODEL_FAILED')
  expect(models.requests).toHaveLength(before)
})

test.each<[string, (key: string, cursor: string) => { input: Input; after: string | null }, string]>([
  ['another body with the same key', (key) => ({ input: { prompt: 'Other?', key }, after: null }), 'CONFLICT'],
  ['a cursor without a key', (_key, after) => ({ input: { prompt: 'Hello?' }, after }), 'BAD_USER_INPUT'],
  ['a cursor that is none', (key) => ({ input: { prompt: 'Hello?', key }, after: 'nonsense' }), 'BAD_USER_INPUT'],
  [
    'a cursor of another one',
    (_key, after) => ({ input: { prompt: 'Hello?', key: newKey() }, after }),
    'BAD_USER_INPUT',
  ],
  ['an empty key', () => ({ input: { prompt: 'Hello?', key: '' }, after: null }), 'BAD_USER_INPUT'],
])('refuses %s', async (_what, make, code) => {
  models.replyAlways(answer('Hello.'))
  const key = newKey()
  const events = await listen(app, { prompt: 'Hello?', key })
  const cursor = events.find(({ __typename }) => __typename === 'CompletionDelta')?.cursor ?? ''
  const { input, after } = make(key, cursor)
  await expect(listen(other, input, { after })).rejects.toThrow(code)
})

test('a key is the workspace’s: another one has its own, and sees nothing of this', async () => {
  models.replyAlways(answer('Hello.'))
  const key = newKey()
  await listen(app, { prompt: 'Hello?', key })
  const stranger = await app.signUp()
  const { data } = await other.graphql(byKey, { key }, { token: stranger.token })
  expect(data?.['completion']).toBeNull()
  expect((await ask(app, byKey, { key: 'unused' })).data.completion).toBeNull()
})

test('answers from the cache say so, live and when they are told again', async () => {
  models.replyAlways(answer('Cached.'))
  const input = { prompt: 'What is cached?', temperature: 0 }
  await listen(app, { ...input, key: newKey() })
  const key = newKey()

  const events = await listen(other, { ...input, key })

  expect(events[0]).toMatchObject({ __typename: 'CompletionStarted', cached: true })
  expect(events.at(-1)).toMatchObject({
    completion: { text: 'Cached.', cached: true, attempts: [{ outcome: 'cached' }] },
  })
  expect(await listen(app, { ...input, key })).toEqual(events)
})
