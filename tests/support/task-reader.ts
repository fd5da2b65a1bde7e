import type { GraphQLClient, SubscriptionOptions } from './graphql-client.ts'

/** A client of taskStream that keeps what a client keeps, and refuses any gap or repetition. */
export interface Reader {
  readonly taskId: string
  readonly text: string
  /** Of every TaskChanged seen, in order. */
  readonly statuses: readonly string[]
  /** How many OutputDeltas were seen. */
  readonly pieces: number
  /** True when the last read ended by itself, and not because it had enough. */
  readonly isDone: boolean
  /** Of the task, as the last item that names one says. */
  readonly version: number
  /** Reads on from its cursor over a connection of its own, to the end or until it has enough. Throws StreamViolation, or what breaks the connection. */
  read(
    client: GraphQLClient,
    token: string,
    isEnough?: (reader: Reader) => boolean,
    options?: Pick<SubscriptionOptions, 'over' | 'signal'>,
  ): Promise<void>
  /** Another reader at the same place. */
  copy(): Reader
}

/** The stream has sent what it must not. */
export class StreamViolation extends Error {}

const taskStream = `subscription ($taskId: ID!, $after: String) {
  taskStream(taskId: $taskId, after: $after) {
    __typename
    ... on TaskSnapshot { cursor output task { version } }
    ... on TaskChanged { cursor event { status version } }
    ... on OutputDelta { cursor attempt segment offset text }
    ... on OutputReset { cursor attempt segment }
    ... on CaughtUp { cursor }
    ... on Heartbeat { cursor }
    ... on ResyncRequired { reason }
  }
}`

type Item =
  | { __typename: 'TaskSnapshot'; cursor: string; output: string; task: { version: number } }
  | { __typename: 'TaskChanged'; cursor: string; event: { status: string; version: number } }
  | { __typename: 'OutputDelta'; cursor: string; attempt: number; segment: number; offset: number; text: string }
  | { __typename: 'OutputReset'; cursor: string; attempt: number; segment: number }
  | { __typename: 'CaughtUp' | 'Heartbeat'; cursor: string }
  | { __typename: 'ResyncRequired'; reason: string }

type State = {
  text: string
  segment: number | null
  attempt: number
  version: number
  cursor: string | null
  statuses: string[]
  pieces: number
  isDone: boolean
}

const fresh: State = {
  text: '',
  segment: null,
  attempt: 0,
  version: 0,
  cursor: null,
  statuses: [],
  pieces: 0,
  isDone: false,
}

export function createReader(taskId: string, from: State = fresh): Reader {
  const state = { ...from, statuses: [...from.statuses] }

  const reader: Reader = {
    taskId,
    get text() {
      return state.text
    },
    get statuses() {
      return state.statuses
    },
    get pieces() {
      return state.pieces
    },
    get isDone() {
      return state.isDone
    },
    get version() {
      return state.version
    },
    async read(client, token, isEnough = () => false, options = {}) {
      state.isDone = false
      const variables = { taskId, after: state.cursor }
      const results = client.subscribe<{ taskStream: Item }>(taskStream, variables, { ...options, token })
      for await (const { data, errors } of results) {
        if (errors !== undefined) throw new Error(`the stream failed: ${JSON.stringify(errors)}`)
        if (data === undefined || data === null) throw new Error('the stream has no data')
        apply(state, data.taskStream)
        if (isEnough(reader)) return
      }
      state.isDone = true
    },
    copy: () => createReader(taskId, state),
  }
  return reader
}

function apply(state: State, item: Item): void {
  switch (item.__typename) {
    case 'TaskSnapshot':
      state.text = item.output
      state.version = item.task.version
      break
    case 'TaskChanged':
      if (item.event.version !== state.version + 1) {
        throw new StreamViolation(`version ${item.event.version} came after ${state.version}`)
      }
      state.version = item.event.version
      state.statuses.push(item.event.status)
      break
    case 'OutputDelta':
      if (item.offset !== state.text.length) {
        throw new StreamViolation(`offset ${item.offset} came after ${state.text.length} units of text`)
      }
      if (state.segment !== null && state.segment !== item.segment) {
        throw new StreamViolation(`segment ${item.segment} came after ${state.segment} without a reset`)
      }
      checkAttempt(state, item)
      state.segment = item.segment
      state.text += item.text
      state.pieces += 1
      break
    case 'OutputReset':
      if (state.segment !== null && item.segment <= state.segment)
        throw new StreamViolation(`a reset to segment ${item.segment} came after ${state.segment}`)
      checkAttempt(state, item)
      state.text = ''
      state.segment = item.segment
      break
    case 'CaughtUp':
    case 'Heartbeat':
      break
    case 'ResyncRequired':
      throw new StreamViolation(`the stream asked to start over: ${item.reason}`)
  }
  state.cursor = item.cursor
}

function checkAttempt(state: State, { attempt }: { attempt: number }): void {
  if (attempt < state.attempt) throw new StreamViolation(`text of attempt ${attempt} came after ${state.attempt}`)
  state.attempt = attempt
}
