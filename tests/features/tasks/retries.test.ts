import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  answer,
  chunk,
  cut,
  finish,
  httpError,
  reset,
  silence,
  stall,
  startModelServer,
  stream,
  text,
  type ModelServer,
  type Reply,
} from '../../support/model-server.ts'
import { createReader } from '../../support/task-reader.ts'
import { startTestApp, type TestApp, type TestUser } from '../../support/test-app.ts'
import { until } from '../../support/until.ts'
import { rowId } from './graphql-fixture.ts'

let models: ModelServer
let app: TestApp
let user: TestUser
/** What stands for chance in every backoff. */
let random = 0

beforeAll(async () => {
  models = await startModelServer()
  app = await startTestApp({
    env: {
      OPENAI_API_KEY: 'none',
      OPENAI_BASE_URL: models.baseUrl,
      AI_FIRST_TOKEN_TIMEOUT_MS: '2000',
      AI_IDLE_TIMEOUT_MS: '2000',
    },
    overrides: { random: () => random },
  })
  user = await app.signUp()
}, 120_000)

afterAll(async () => {
  await app[Symbol.asyncDispose]()
  await models[Symbol.asyncDispose]()
})

let used = 0

/** Of a model of its own, so that no breaker remembers the failures of another test. */
async function submit(retryPolicy: Record<string, unknown>): Promise<string> {
  const { createAgent } = await app.data<{ createAgent: { agent: { id: string } } }>(
    'mutation ($input: CreateAgentInput!) { createAgent(input: $input) { agent { id } } }',
    { input: { name: 'Agent', instructions: 'Go.', models: [`openai/m-${(used += 1)}`], retryPolicy } },
    { token: user.token },
  )
  const { createTask } = await app.data<{ createTask: { task: { id: string } } }>(
    'mutation ($input: CreateTaskInput!) { createTask(input: $input) { task { id } } }',
    { input: { agentId: createAgent.agent.id, prompt: 'Go.' } },
    { token: user.token },
  )
  return createTask.task.id
}

type Seen = {
  status: string
  statusReason: string | null
  error: { code: string; retryable: boolean } | null
  attempts: {
    number: number
    status: string
    model: string | null
    startedAt: string
    finishedAt: string | null
    error: { code: string; retryable: boolean } | null
    usage: { totalTokens: number }
    modelAttempts: { outcome: string; status: number | null; durationMs: number }[]
  }[]
}

async function read(id: string): Promise<Seen> {
  const fields = `status statusReason error { code retryable } attempts {
    number status model startedAt finishedAt error { code retryable } usage { totalTokens } modelAttempts { outcome status durationMs } }`
  const query = `query ($id: ID!) { task(id: $id) { ${fields} } }`
  return (await app.data<{ task: Seen }>(query, { id }, { token: user.token })).task
}

const three = (reply: Reply): Reply[] => [reply, reply, reply]
const half = [chunk({ role: 'assistant' }), text('half')]
const quota = { message: 'You exceeded your quota.', code: 'insufficient_quota' }
const tooLong = { message: 'maximum context length', code: 'context_length_exceeded' }

// Each reply but the last is one call of the model; within an attempt it is asked up to three times when that may help.
test.each<[string, { replies: Reply[]; outcomes: string[]; isRetried: boolean }]>([
  [
    '429',
    { replies: three(httpError(429)), outcomes: Array.from({ length: 3 }, () => 'rate_limited'), isRetried: true },
  ],
  [
    '500',
    { replies: three(httpError(500)), outcomes: Array.from({ length: 3 }, () => 'server_error'), isRetried: true },
  ],
  ['503', { replies: three(httpError(503)), outcomes: Array.from({ length: 3 }, () => 'overloaded'), isRetried: true }],
  [
    'a reset',
    { replies: three(reset), outcomes: Array.from({ length: 3 }, () => 'connection_failed'), isRetried: true },
  ],
  [
    'an answer that breaks off',
    { replies: three(stream(...half, cut)), outcomes: Array.from({ length: 3 }, () => 'interrupted'), isRetried: true },
  ],
  ['silence', { replies: [silence], outcomes: ['first_token_timeout'], isRetried: true }],
  ['a stall', { replies: [stream(...half, stall)], outcomes: ['idle_timeout'], isRetried: true }],
  ['400', { replies: [httpError(400)], outcomes: ['bad_request'], isRetried: false }],
  ['401', { replies: [httpError(401)], outcomes: ['authentication_failed'], isRetried: false }],
  ['403', { replies: [httpError(403)], outcomes: ['permission_denied'], isRetried: false }],
  ['404', { replies: [httpError(404)], outcomes: ['model_not_found'], isRetried: false }],
  ['no quota', { replies: [httpError(429, quota)], outcomes: ['quota_exhausted'], isRetried: false }],
  ['too long', { replies: [httpError(400, tooLong)], outcomes: ['context_length_exceeded'], isRetried: false }],
  [
    'a filter',
    { replies: [stream(...half, finish('content_filter'))], outcomes: ['content_filtered'], isRetried: false },
  ],
])(
  '%s is tried again only if that may help, and recorded either way',
  async (_what, { replies, outcomes, isRetried }) => {
    models.reply(...replies, ...(isRetried ? [answer('At last.')] : []))
    const id = await submit({ initialDelayMs: 0, maxDelayMs: 0 })
    await createReader(id).read(app, user.token)

    const task = await read(id)
    const [failed] = outcomes
    const error = { code: failed?.toUpperCase(), retryable: isRetried }
    const model = `openai/m-${used}`
    const first = { number: 1, status: 'FAILED', model, error, modelAttempts: outcomes.map((outcome) => ({ outcome })) }
    const second = {
      number: 2,
      status: 'SUCCEEDED',
      model,
      error: null,
      modelAttempts: [{ outcome: 'succeeded', status: 200 }],
    }

    expect(task).toMatchObject({
      status: isRetried ? 'SUCCEEDED' : 'FAILED',
      error: isRetried ? null : error,
      attempts: isRetried ? [first, second] : [first],
    })
    expect(task.attempts.every(({ startedAt, finishedAt }) => finishedAt !== null && startedAt <= finishedAt)).toBe(
      true,
    )
    if (isRetried) expect(task.attempts[1]?.usage.totalTokens).toBe(12)
  },
)

const rowOf = (id: string) => app.services.db.prisma.task.findUniqueOrThrow({ where: { id: rowId(id) } })

async function untilScheduled(id: string, attempt: number) {
  return until(
    `attempt ${attempt} has failed and the next one waits`,
    () => rowOf(id),
    (row) => row.status === 'SCHEDULED' && row.attempt === attempt,
    60_000,
  )
}

const waitOf = ({ runAt, updatedAt }: { runAt: Date | null; updatedAt: Date }) => Number(runAt) - Number(updatedAt)

test('waits with full jitter over a time that doubles, up to the longest, and fails after the last attempt', async () => {
  random = 0.5
  const id = await submit({ initialDelayMs: 100_000, maxDelayMs: 150_000, maxAttempts: 3 })
  // Not as many as may be asked for: the breaker spares the model the last ones.
  models.replyAlways(httpError(503))
  try {
    expect(waitOf(await untilScheduled(id, 1))).toBe(50_000)
    await app.services.db.prisma.task.update({ where: { id: rowId(id) }, data: { runAt: new Date() } })
    const row = await untilScheduled(id, 2)
    expect(waitOf(row)).toBe(75_000)
    expect((await read(id)).statusReason).toContain(`Attempt 3 of 3 begins at ${row.runAt?.toISOString()}, because`)
    await app.services.db.prisma.task.update({ where: { id: rowId(id) }, data: { runAt: new Date() } })
    await createReader(id).read(app, user.token)
  } finally {
    random = 0
  }
  const task = await read(id)
  expect(task).toMatchObject({ status: 'FAILED', error: { retryable: true } })
  expect(task.attempts.map(({ status }) => status)).toEqual(['FAILED', 'FAILED', 'FAILED'])
})

test.each([
  ['seconds', { 'retry-after': '7200' }],
  ['milliseconds', { 'retry-after-ms': '7200000' }],
])(
  'waits at least as long as the provider asks for, in %s, also beyond the longest wait of the agent',
  async (_unit, headers) => {
    models.reply(httpError(429, {}, headers))
    const id = await submit({ initialDelayMs: 0, maxDelayMs: 1_000 })

    const row = await untilScheduled(id, 1)

    expect(waitOf(row)).toBeGreaterThanOrEqual(7_200_000)
    expect(waitOf(row)).toBeLessThan(7_300_000)
  },
)
