// `npm run demo:cluster`: PostgreSQL, Redis, two API and two worker processes on this machine, all throw-away. A task is submitted to one
// API and watched on the other; the worker that runs it is killed in the middle of its answer. Ends with 1 when what the subscriber has
// put together is not the task's output, or when the recovery took too long.
import { startCluster, type Cluster, type Member } from '../tests/support/cluster.ts'
import { rowId } from '../tests/support/first-task.ts'
import { findPostgres } from '../tests/support/postgres-server.ts'
import { findRedis } from '../tests/support/redis-server.ts'
import { createReader } from '../tests/support/task-reader.ts'
import { createPage, type Page } from './demo-cluster/page.ts'
import { createStory, seconds } from './demo-cluster/story.ts'

/** From the kill to the task running again. */
const recoveryLimitMs = 20_000
/** What the whole program may take, should something hang. */
const hardLimitMs = 180_000

/** An end that needs no stack: somebody asked for it, or something is missing. */
class Ended extends Error {
  readonly exitCode: number

  constructor(message: string, exitCode: number) {
    super(message)
    this.exitCode = exitCode
  }
}

async function main(stopped: Promise<never>): Promise<void> {
  const postgres = findPostgres()
  const redis = findRedis()
  if (postgres === null || redis === null) throw new Ended(missingPrograms, 1)
  say(
    'Monk-AI with many processes: a task is submitted to one API process and watched on another, and the',
    'worker that runs it is killed in the middle of its answer.',
    '',
    'Starting PostgreSQL, Redis, two API and two worker processes …',
  )
  const page = createPage((text) => process.stdout.write(text))
  const starting = startCluster({ postgres, redis })
  try {
    const cluster = await Promise.race([starting, stopped])
    await Promise.race([show(cluster, page), stopped])
  } finally {
    page.close()
    process.stdout.write('\nStopping everything … ')
    // Also what was still starting when it was told to stop. Why the start failed has been thrown already.
    const cluster = await starting.catch(() => null)
    await cluster?.[Symbol.asyncDispose]()
    say('done.')
  }
}

const missingPrograms = `
This starts a PostgreSQL (15 or newer) and a Redis (6.2 or newer) of its own, and needs their programs on this machine:

  Debian, Ubuntu   sudo apt-get install postgresql redis-server
  macOS            brew install postgresql redis
`

async function show(cluster: Cluster, page: Page): Promise<void> {
  const [first, second] = cluster.apis
  if (first === undefined || second === undefined) throw new Error('two APIs were asked for')
  say('', ...describe(cluster), '')
  const { token, taskId } = await submitTask(first)
  say('API 1 has taken a task. API 2 is asked for it over a WebSocket; this is what it sends, as it comes:')

  const reader = createReader(taskId)
  const story = createStory({ page, killWorker: () => killWorkerOf(cluster, taskId) })
  try {
    await reader.read(second.client, token, (now) => {
      story.hear(now)
      return false
    })
  } finally {
    story.end()
  }
  if (!reader.isDone) throw new Error('the stream broke off')
  await judge(first, { taskId, token, text: reader.text, recoveryMs: story.recoveryMs() })
}

function describe({ postgres, redis, apis, workers }: Cluster): string[] {
  const line = (name: string, where: string, what: string): string => `  ${name.padEnd(12)}${where.padEnd(25)}${what}`
  return [
    line('PostgreSQL', new URL(postgres.url).host, 'every task, event and piece of output: the truth'),
    line('Redis', new URL(redis.url).host, 'hints and messages between the processes'),
    ...apis.map(({ url, pid }, index) => line(`API ${index + 1}`, new URL(url).host, `process ${pid}`)),
    ...workers.map(({ pid }, index) => line(`Worker ${index + 1}`, '', `process ${pid}`)),
  ]
}

async function submitTask({ client }: Member): Promise<{ token: string; taskId: string }> {
  const { signUp } = await client.data<{ signUp: { accessToken: string } }>(
    'mutation ($input: SignUpInput!) { signUp(input: $input) { accessToken } }',
    { input: { email: 'demo@example.com', password: 'violet-otter-canyon-42' } },
  )
  const token = signUp.accessToken
  const { createAgent } = await client.data<{ createAgent: { agent: { id: string } } }>(
    'mutation ($input: CreateAgentInput!) { createAgent(input: $input) { agent { id } } }',
    { input: { name: 'Demo', instructions: 'Answer briefly and kindly.', models: ['demo/demo'] } },
    { token },
  )
  const { createTask } = await client.data<{ createTask: { task: { id: string } } }>(
    'mutation ($input: CreateTaskInput!) { createTask(input: $input) { task { id } } }',
    { input: { agentId: createAgent.agent.id, prompt: 'What becomes of an answer when its worker dies half-way?' } },
    { token },
  )
  return { token, taskId: createTask.task.id }
}

function killWorkerOf({ workers, workerOf }: Cluster, taskId: string): string {
  const worker = workerOf(rowId(taskId))
  process.kill(worker.pid, 'SIGKILL')
  return `kill -9 ${worker.pid}: worker ${workers.indexOf(worker) + 1} is dead, in the middle of its answer.`
}

type Told = { taskId: string; token: string; text: string; recoveryMs: number | null }
type TaskAnswer = {
  task: { status: string; output: string; attempts: { number: number; status: string; model: string | null }[] }
}

/** Holds what was told on API 2 against what API 1 says. */
async function judge({ client }: Member, { taskId, token, text, recoveryMs }: Told): Promise<void> {
  const query = 'query ($id: ID!) { task(id: $id) { status output attempts { number status model } } }'
  const { task } = await client.data<TaskAnswer>(query, { id: taskId }, { token })
  if (task.status !== 'SUCCEEDED') throw new Error(`the task is ${task.status}`)
  if (task.output !== text) throw new Error(`the subscriber of API 2 has\n${text}\nand API 1 says\n${task.output}`)
  if (recoveryMs === null) throw new Error('the task ended before its worker could be killed')
  const isFast = recoveryMs <= recoveryLimitMs
  say(
    '',
    ...task.attempts.map(
      ({ number, status, model }) => `  Attempt ${number}: ${[status, model].filter(Boolean).join(', ')}`,
    ),
    '',
    `The ${text.length} characters that API 2 has sent since the reset are exactly the task's output, as API 1 has it.`,
    `From the kill to running again: ${seconds(recoveryMs)}; ${isFast ? 'promised are' : 'PROMISED WERE'} 20 s at most.`,
  )
  if (!isFast) process.exitCode = 1
}

function say(...lines: string[]): void {
  for (const line of lines) console.log(line)
}

/** Rejects on a signal, or when it has taken too long: what was started is stopped either way. */
function stopRequest(): Promise<never> {
  const stopped = new Promise<never>((_, reject) => {
    setTimeout(() => reject(new Error(`it was not done after ${seconds(hardLimitMs)}`)), hardLimitMs).unref()
    // Not `once`: npm hands on the Ctrl-C that the terminal has sent already, and the second one must not cut the stopping short.
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
      process.on(signal, () => reject(new Ended(`It was told to stop (${signal}).`, 130)))
  })
  // It may come before anybody waits for it.
  stopped.catch(() => undefined)
  return stopped
}

try {
  await main(stopRequest())
} catch (error) {
  console.error(error instanceof Ended ? error.message : error)
  process.exitCode = error instanceof Ended ? error.exitCode : 1
}
