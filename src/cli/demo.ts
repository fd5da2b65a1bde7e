import { randomBytes } from 'node:crypto'
import { z } from 'zod'
import { UsageError, type Command } from './command.ts'
import { createDemoClient, type DemoClient } from './demo-client.ts'

const usage = [
  'monk demo [<url of a server>]   default: http://127.0.0.1:4000, or MONK_URL',
  'MONK_DEMO_EMAIL and MONK_DEMO_PASSWORD name an account; default: a new one with a random password',
]

/** `monk demo`. */
export const demo: Command = async ({ args, env }) => {
  const [server = env['MONK_URL'] ?? 'http://127.0.0.1:4000', ...rest] = args
  if (rest.length > 0 || !URL.canParse(server)) throw new UsageError(usage)
  const { MONK_DEMO_EMAIL: email, MONK_DEMO_PASSWORD: password } = env
  const account = email === undefined || password === undefined ? null : { email, password }
  await runDemo({ url: new URL('/graphql', server).href, account, write: (text) => process.stdout.write(text) })
}

type DemoOptions = {
  /** The server's GraphQL endpoint. */
  url: string
  /** An account to sign in with, or to sign up when there is none; null: a new one with a random password. */
  account: { email: string; password: string } | null
  write: (text: string) => void
}

/** After this many pieces of text the demo cuts its own connection. */
const piecesBeforeCut = 12

const signUp = `mutation ($input: SignUpInput!) { signUp(input: $input) { accessToken user { email } } }`
const logIn = `mutation ($input: LogInInput!) { logIn(input: $input) { accessToken user { email } } }`
const createAgent = `mutation ($input: CreateAgentInput!) { createAgent(input: $input) { agent { id name } } }`
const createTask = `mutation ($input: CreateTaskInput!) { createTask(input: $input) { task { id } } }`
const taskStream = `subscription ($taskId: ID!, $after: String) {
  taskStream(taskId: $taskId, after: $after) {
    __typename
    ... on TaskSnapshot { cursor output }
    ... on TaskChanged { cursor event { status } }
    ... on OutputDelta { cursor text }
    ... on OutputReset { cursor reason }
    ... on CaughtUp { cursor }
    ... on Heartbeat { cursor }
    ... on ResyncRequired { reason }
  }
}`
const taskResult = `query ($id: ID!) {
  task(id: $id) {
    status output error { code message }
    attempts { model }
    usage { inputTokens outputTokens costUsd }
  }
}`

const authPayload = z.object({ accessToken: z.string(), user: z.object({ email: z.string() }) })
const streamItem = z.object({
  taskStream: z.discriminatedUnion('__typename', [
    z.object({ __typename: z.literal('TaskSnapshot'), cursor: z.string(), output: z.string() }),
    z.object({
      __typename: z.literal('TaskChanged'),
      cursor: z.string(),
      event: z.object({ status: z.string() }),
    }),
    z.object({ __typename: z.literal('OutputDelta'), cursor: z.string(), text: z.string() }),
    z.object({ __typename: z.literal('OutputReset'), cursor: z.string(), reason: z.string() }),
    z.object({ __typename: z.enum(['CaughtUp', 'Heartbeat']), cursor: z.string() }),
    z.object({ __typename: z.literal('ResyncRequired'), reason: z.string() }),
  ]),
})
const taskAnswer = z.object({
  task: z.object({
    status: z.string(),
    output: z.string().nullable(),
    error: z.object({ code: z.string(), message: z.string() }).nullable(),
    attempts: z.array(z.object({ model: z.string().nullable() })),
    usage: z.object({ inputTokens: z.number(), outputTokens: z.number(), costUsd: z.number().nullable() }),
  }),
})

/** What a reader knows: everything so far, and where to go on. */
type Reading = { text: string; cursor: string | null; pieces: number }

/**
 * Shows the whole system through its public API: an account, an agent, a task, its tokens as they come, a connection that breaks in the
 * middle and is resumed at its cursor, the result and what it cost. Throws when what it assembled is not what the server has.
 */
async function runDemo({ url, account, write }: DemoOptions): Promise<void> {
  const client = createDemoClient(url)
  await authenticate(client, account, write)
  const { createAgent: made } = await client.request(
    { query: createAgent, variables: { input: { name: 'Demo', instructions: 'Answer briefly and kindly.' } } },
    z.object({ createAgent: z.object({ agent: z.object({ id: z.string(), name: z.string() }) }) }),
  )
  write(`Registered the agent "${made.agent.name}".\n`)
  const input = {
    agentId: made.agent.id,
    prompt: 'Explain in a few sentences why a stream should survive a lost connection.',
  }
  const { createTask: submitted } = await client.request(
    { query: createTask, variables: { input } },
    z.object({ createTask: z.object({ task: z.object({ id: z.string() }) }) }),
  )
  const taskId = submitted.task.id
  write('Submitted a task. Its tokens, as they arrive:\n\n')

  const before = await readStream(client, taskId, {
    reading: { text: '', cursor: null, pieces: 0 },
    cutAfter: piecesBeforeCut,
    write,
  })
  write('\n\n-- connection cut; resuming at the last cursor --\n\n')
  const after = await readStream(client, taskId, { reading: before, cutAfter: Infinity, write })
  await showResult(client, taskId, { text: after.text, write })
}

async function authenticate(
  client: DemoClient,
  account: DemoOptions['account'],
  write: DemoOptions['write'],
): Promise<void> {
  const input = account ?? {
    email: `demo-${randomBytes(4).toString('hex')}@example.com`,
    password: randomBytes(18).toString('base64url'),
  }
  const payload =
    account === null ? await join(client, input) : await enter(client, input).catch(() => join(client, input))
  client.useToken(payload.accessToken)
  write(`Signed in as ${payload.user.email}`)
  write(account === null ? ` with the password ${input.password}\n` : '\n')
}

async function join(client: DemoClient, input: object): Promise<z.infer<typeof authPayload>> {
  return (await client.request({ query: signUp, variables: { input } }, z.object({ signUp: authPayload }))).signUp
}

async function enter(client: DemoClient, input: object): Promise<z.infer<typeof authPayload>> {
  return (await client.request({ query: logIn, variables: { input } }, z.object({ logIn: authPayload }))).logIn
}

type ReadOptions = { reading: Reading; cutAfter: number; write: DemoOptions['write'] }

async function readStream(
  client: DemoClient,
  taskId: string,
  { reading, cutAfter, write }: ReadOptions,
): Promise<Reading> {
  const now = { ...reading }
  const variables = { taskId, after: reading.cursor }
  const subscription = client.subscribe({ query: taskStream, variables }, streamItem)
  try {
    for await (const { taskStream: item } of subscription) {
      apply(item, now, write)
      if (now.pieces < cutAfter) continue
      subscription.cut()
      break
    }
  } catch (error) {
    // A cut connection ends the subscription with an error, as it should.
    if (now.pieces < cutAfter) throw error
  }
  return now
}

function apply(item: z.infer<typeof streamItem>['taskStream'], reading: Reading, write: DemoOptions['write']): void {
  switch (item.__typename) {
    case 'TaskSnapshot':
      reading.text = item.output
      write(item.output)
      break
    case 'OutputDelta':
      reading.text += item.text
      reading.pieces += 1
      write(item.text)
      break
    case 'OutputReset':
      reading.text = ''
      write(`\n-- the answer starts again: ${item.reason} --\n`)
      break
    case 'TaskChanged':
      write(`\n[${item.event.status}]`)
      break
    case 'CaughtUp':
    case 'Heartbeat':
      break
    case 'ResyncRequired':
      throw new Error(`The stream cannot be resumed: ${item.reason}`)
  }
  reading.cursor = item.cursor
}

async function showResult(
  client: DemoClient,
  id: string,
  { text, write }: { text: string; write: DemoOptions['write'] },
): Promise<void> {
  const { task } = await client.request({ query: taskResult, variables: { id } }, taskAnswer)
  if (task.error !== null) throw new Error(`The task failed: ${task.error.code}: ${task.error.message}`)
  if (task.output !== text) throw new Error('What was assembled from the stream is not what the server has.')
  const { inputTokens, outputTokens, costUsd } = task.usage
  write(
    `\n\n${task.status}: the ${text.length} characters assembled over two connections are exactly the task's output.\n`,
  )
  write(`${task.attempts.at(-1)?.model ?? 'No model'} used ${inputTokens} + ${outputTokens} tokens`)
  write(costUsd === null ? '; its price is not known.\n' : ` and cost $${costUsd.toFixed(6)}.\n`)
}
