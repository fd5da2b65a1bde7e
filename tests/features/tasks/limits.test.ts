import { afterAll, beforeAll, expect, test } from 'vitest'
import { createLimitQueue, longestQueueMs } from '../../../src/features/tasks/engine/limit-queue.ts'
import {
  answer,
  done,
  finish,
  startModelServer,
  stream,
  text,
  usage,
  type ModelServer,
} from '../../support/model-server.ts'
import { startTestApp, type TestApp, type TestUser } from '../../support/test-app.ts'
import { until } from '../../support/until.ts'

let models: ModelServer
let app: TestApp
let user: TestUser

beforeAll(async () => {
  models = await startModelServer()
  models.replyAlways(answer('Done.'))
  app = await startTestApp({
    env: {
      OPENAI_API_KEY: 'none',
      OPENAI_BASE_URL: models.baseUrl,
      AI_DEFAULT_MODELS: 'openai/test-model',
      LIMIT_WORKSPACE_MODEL_TOKENS_PER_MINUTE: '1000000',
    },
  })
  user = await app.signUp()
})

afterAll(async () => {
  await app[Symbol.asyncDispose]()
  await models[Symbol.asyncDispose]()
})

type RateLimit = { requestsPerMinute: number | null; tokensPerMinute: number | null }
type Limited = { id: string; version: number; rateLimit: RateLimit }

async function createAgent(rateLimit?: Partial<RateLimit> | null): Promise<Limited> {
  const { createAgent: payload } = await app.data<{ createAgent: { agent: Limited } }>(
    `mutation ($input: CreateAgentInput!) {
       createAgent(input: $input) { agent { id version rateLimit { requestsPerMinute tokensPerMinute } } }
     }`,
    { input: { name: 'Agent', instructions: 'You are terse.', ...(rateLimit !== undefined && { rateLimit }) } },
    { token: user.token },
  )
  return payload.agent
}

async function updateAgent(id: string, change: Record<string, unknown>): Promise<Limited> {
  const { updateAgent: payload } = await app.data<{ updateAgent: { agent: Limited } }>(
    `mutation ($input: UpdateAgentInput!) {
       updateAgent(input: $input) { agent { id version rateLimit { requestsPerMinute tokensPerMinute } } }
     }`,
    { input: { id, ...change } },
    { token: user.token },
  )
  return payload.agent
}

async function createTask(agentId: string): Promise<string> {
  const { createTask: payload } = await app.data<{ createTask: { task: { id: string } } }>(
    'mutation ($input: CreateTaskInput!) { createTask(input: $input) { task { id } } }',
    { input: { agentId, prompt: 'Go.', maxAttempts: 1 } },
    { token: user.token },
  )
  return payload.task.id
}

type Seen = {
  status: string
  statusReason: string | null
  runAt: string | null
  attempt: number
  attemptsUsed: number
  attempts: { status: string; error: { code: string } | null }[]
  events: { edges: { node: { type: string; reason: string | null } }[] }
}

async function see(id: string): Promise<Seen> {
  const { task } = await app.data<{ task: Seen }>(
    `query ($id: ID!) { task(id: $id) { status statusReason runAt attempt attemptsUsed attempts { status error { code } }
       events { edges { node { type reason } } } } }`,
    { id },
    { token: user.token },
  )
  return task
}

const untilStatus = (id: string, status: string, limitMs = 30_000): Promise<Seen> =>
  until(
    `task ${id} is ${status}`,
    () => see(id),
    (task) => task.status === status,
    limitMs,
  )

test('an agent has the limit that it is given, and none by default', async () => {
  expect((await createAgent()).rateLimit).toEqual({ requestsPerMinute: null, tokensPerMinute: null })
  expect((await createAgent(null)).rateLimit).toEqual({ requestsPerMinute: null, tokensPerMinute: null })
  const { id, rateLimit } = await createAgent({ requestsPerMinute: 5 })
  expect(rateLimit).toEqual({ requestsPerMinute: 5, tokensPerMinute: null })

  const wider = await updateAgent(id, { rateLimit: { tokensPerMinute: 900 } })
  expect(wider).toMatchObject({ version: 2, rateLimit: { requestsPerMinute: 5, tokensPerMinute: 900 } })
  expect(await updateAgent(id, { name: 'Other' })).toMatchObject({ version: 3, rateLimit: wider.rateLimit })
  expect((await updateAgent(id, { rateLimit: { requestsPerMinute: null } })).rateLimit).toEqual({
    requestsPerMinute: null,
    tokensPerMinute: 900,
  })
  expect((await updateAgent(id, { rateLimit: null })).rateLimit).toEqual({
    requestsPerMinute: null,
    tokensPerMinute: null,
  })
})

test.each([{ requestsPerMinute: 0 }, { requestsPerMinute: 1_000_001 }, { tokensPerMinute: -1 }])(
  'refuses %j as a limit',
  async (rateLimit) => {
    const { errors } = await app.graphql(
      'mutation ($input: CreateAgentInput!) { createAgent(input: $input) { agent { id } } }',
      { input: { name: 'Agent', instructions: 'You are terse.', rateLimit } },
      { token: user.token },
    )
    expect(errors?.[0]?.extensions).toMatchObject({ code: 'BAD_USER_INPUT' })
  },
)

test('puts a task back until its agent may go on, which uses no attempt, and then runs it', async () => {
  const before = models.requests.length
  // A thousand tokens a second, of which the first answer takes a minute's worth.
  const agent = await createAgent({ tokensPerMinute: 60_000 })
  models.reply(stream(text('Long.'), finish(), usage(10, 59_990), done))
  const first = await createTask(agent.id)
  await untilStatus(first, 'SUCCEEDED')
  const second = await createTask(agent.id)
  const limited = await untilStatus(second, 'SCHEDULED')
  expect(limited).toMatchObject({ attempt: 1, attemptsUsed: 0 })
  expect(limited.statusReason).toBe(
    `Limited until ${String(limited.runAt)}: The limit of the agent is used up: 60000 tokens a minute`,
  )
  expect(limited.attempts).toEqual([{ status: 'RELEASED', error: { code: 'RATE_LIMIT_EXCEEDED' } }])
  expect(limited.events.edges.map(({ node }) => node.type)).toEqual(['CREATED', 'STARTED', 'SCHEDULED'])
  expect(models.requests.length - before).toBe(1)

  // It has one attempt in all, and that is still there.
  await untilStatus(second, 'SUCCEEDED', 90_000)
  expect(await see(second)).toMatchObject({ attempt: 2, attemptsUsed: 1 })
}, 100_000)

test('a completion over the limit of its workspace is refused with the time to come back', async () => {
  const other = await app.signUp()
  const complete = () =>
    app.graphql<{ complete: { text: string } | null }>(
      'mutation ($input: CompletionInput!) { complete(input: $input) { text } }',
      { input: { prompt: 'Go.', maxOutputTokens: 999_000 } },
      { token: other.token },
    )
  // It reserves nearly everything and gives back what it did not use only when it ends: the second comes in between.
  let letGo = (): void => undefined
  const hold = new Promise<void>((resolve) => (letGo = resolve))
  models.reply({ ...answer('Slow.'), acts: [{ do: 'hold', until: hold }, ...answer('Slow.').acts] })
  const before = models.requests.length
  const slow = complete()
  await until(
    'the first is under way',
    async () => models.requests.length,
    (count) => count > before,
  )

  const { errors } = await complete()

  expect(errors?.[0]?.extensions).toMatchObject({
    code: 'RATE_LIMITED',
    details: { retryable: true, retryAfterMs: expect.any(Number) },
  })
  letGo()
  expect((await slow).data?.complete?.text).toBe('Slow.')
  expect((await complete()).data?.complete?.text).toBe('Done.')
})

test('those who wait for one agent come one after another, at its pace', () => {
  let nowMs = 0
  const queue = createLimitQueue({ clock: { now: () => new Date(0), monotonicMs: () => nowMs } })
  const limit = { retryAfterMs: 400, requestsPerMinute: 60 }

  expect([1, 2, 3].map(() => queue.delayMs('a', limit))).toEqual([400, 1_400, 2_400])
  expect(queue.delayMs('b', limit)).toBe(400)
  nowMs = 10_000
  expect(queue.delayMs('a', limit)).toBe(400)
  for (let n = 0; n < 100; n += 1) expect(queue.delayMs('a', limit)).toBeLessThanOrEqual(longestQueueMs)
})
