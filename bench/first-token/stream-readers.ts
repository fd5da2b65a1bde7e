import OpenAI from 'openai'
import type { GraphQLClient } from '../../tests/support/graphql-client.ts'
import type { TimedPiece } from './timed-text.ts'
import { labelled } from './upstream-tap.ts'

/** A way to get text from the model, and who reads it. */
export interface StreamReader {
  readonly name: string
  /** Asks for one answer for each label, all at once, and reads them to their ends; in the order of the labels. */
  read(labels: readonly string[]): Promise<readonly (readonly TimedPiece[])[]>
}

const promptFor = (label: string): string => `Count. ${labelled(label)}`

/** The baseline: the same SDK as the server's, in this process, with nothing behind it. */
export function createSdkReader({ baseUrl, model }: { baseUrl: string; model: string }): StreamReader {
  const sdk = new OpenAI({ baseURL: baseUrl, apiKey: 'none', maxRetries: 0 })

  async function readOne(label: string): Promise<readonly TimedPiece[]> {
    const pieces = createPieces()
    const chunks = await sdk.chat.completions.create({
      model,
      messages: [{ role: 'user', content: promptFor(label) }],
      stream: true,
      stream_options: { include_usage: true },
    })
    for await (const { choices } of chunks) pieces.add(choices[0]?.delta.content ?? '')
    return pieces.all
  }

  return { name: 'openai SDK', read: (labels) => Promise.all(labels.map(readOne)) }
}

export type Session = { client: GraphQLClient; token: string }

const completion = `subscription ($input: CompletionInput!) {
  completion(input: $input) {
    __typename
    ... on CompletionDelta { offset text }
    ... on CompletionFailed { message }
  }
}`

type CompletionEvent =
  | { __typename: 'CompletionDelta'; offset: number; text: string }
  | { __typename: 'CompletionFailed'; message: string }
  | { __typename: 'CompletionStarted' | 'CompletionReset' | 'CompletionFinished' }

export function createCompletionReader({ client, token }: Session): StreamReader {
  async function readOne(label: string): Promise<readonly TimedPiece[]> {
    const pieces = createPieces()
    const answers = client.subscribe<{ completion: CompletionEvent }>(
      completion,
      { input: { prompt: promptFor(label) } },
      { token },
    )
    for await (const { data, errors } of answers) {
      const event = data?.completion
      if (event === undefined) throw new Error(`the completion failed: ${JSON.stringify(errors)}`)
      if (event.__typename === 'CompletionFailed') throw new Error(`the completion failed: ${event.message}`)
      if (event.__typename === 'CompletionDelta') pieces.add(event.text, event.offset)
    }
    return pieces.all
  }

  return { name: 'completion', read: (labels) => Promise.all(labels.map(readOne)) }
}

const createAgent = 'mutation ($input: CreateAgentInput!) { createAgent(input: $input) { agent { id } } }'
const pauseAgent = 'mutation ($input: AgentInput!) { pauseAgent(input: $input) { agent { id } } }'
const resumeAgent = 'mutation ($input: AgentInput!) { resumeAgent(input: $input) { agent { id } } }'
const createTask = 'mutation ($input: CreateTaskInput!) { createTask(input: $input) { task { id } } }'
const taskStream = `subscription ($taskId: ID!) {
  taskStream(taskId: $taskId) {
    __typename
    ... on OutputDelta { offset text }
    ... on TaskChanged { event { status reason } }
  }
}`

type TaskStreamItem =
  | { __typename: 'OutputDelta'; offset: number; text: string }
  | { __typename: 'TaskChanged'; event: { status: string; reason: string | null } }
  | { __typename: 'TaskSnapshot' | 'CaughtUp' | 'Heartbeat' | 'OutputReset' | 'ResyncRequired' }

/**
 * Tasks of one agent. It is paused while they are submitted, and resumed once all readers have caught up: a reader that came later than
 * the first token would measure itself.
 */
export async function createTaskReader(
  { client, token }: Session,
  { concurrency }: { concurrency: number },
): Promise<StreamReader> {
  const made = await client.data<{ createAgent: { agent: { id: string } } }>(
    createAgent,
    { input: { name: 'Counter', instructions: 'Count.', concurrency } },
    { token },
  )
  const agentId = made.createAgent.agent.id

  async function submit(label: string): Promise<string> {
    const submitted = await client.data<{ createTask: { task: { id: string } } }>(
      createTask,
      { input: { agentId, prompt: promptFor(label) } },
      { token },
    )
    return submitted.createTask.task.id
  }

  async function readOne(taskId: string, onCaughtUp: () => void): Promise<readonly TimedPiece[]> {
    const pieces = createPieces()
    for await (const { data, errors } of client.subscribe<{ taskStream: TaskStreamItem }>(
      taskStream,
      { taskId },
      { token },
    )) {
      const item = data?.taskStream
      if (item === undefined) throw new Error(`the task's stream failed: ${JSON.stringify(errors)}`)
      if (item.__typename === 'OutputDelta') pieces.add(item.text, item.offset)
      if (item.__typename === 'CaughtUp') onCaughtUp()
      if (item.__typename === 'TaskChanged' && item.event.status === 'FAILED') {
        throw new Error(`the task failed: ${item.event.reason}`)
      }
    }
    return pieces.all
  }

  return {
    name: 'taskStream',
    async read(labels) {
      await client.data(pauseAgent, { input: { id: agentId } }, { token })
      const taskIds = await Promise.all(labels.map(submit))
      const gate = createGate(labels.length)
      const resumed = gate.opened.then(() => client.data(resumeAgent, { input: { id: agentId } }, { token }))
      const [pieces] = await Promise.all([Promise.all(taskIds.map((id) => readOne(id, gate.arrive))), resumed])
      return pieces
    },
  }
}

/** Opens when as many have arrived as are expected. */
function createGate(expected: number): { arrive: () => void; opened: Promise<void> } {
  let missing = expected
  let open = (): void => undefined
  const opened = new Promise<void>((resolve) => (open = resolve))
  return {
    opened,
    arrive() {
      missing -= 1
      if (missing === 0) open()
    },
  }
}

function createPieces(): { all: TimedPiece[]; add(text: string, offset?: number): void } {
  const all: TimedPiece[] = []
  let units = 0
  return {
    all,
    add(text, offset = units) {
      const atMs = performance.now()
      if (text === '') return
      all.push({ offset, text, atMs })
      units += text.length
    },
  }
}
