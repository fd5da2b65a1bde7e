import { encodeGlobalID } from '@pothos/plugin-relay'
import { afterAll, expect, test } from 'vitest'
import { newId } from '../../../src/lib/ids.ts'
import { feedCursor, taskCursor } from '../../../src/features/tasks/streams/task-cursor.ts'
import type { GraphQLAnswer } from '../../support/graphql-client.ts'
import { startTestApp } from '../../support/test-app.ts'

const reads: string[] = []
const app = await startTestApp({
  overrides: {
    demoTokenDelayMs: 0,
    onStatement: (sql) => {
      if (/FROM "public"|json_agg/.test(sql)) reads.push(sql)
    },
  },
})
afterAll(() => app[Symbol.asyncDispose]())
const { token } = await app.signUp()

// Everything of a task that is in its row.
const fields = `
  fragment Row on Task { id name priority status version runAt timeoutMs maxAttempts attempt attemptsUsed
    error { code message retryable } idempotencyKey createdAt updatedAt queuedAt startedAt finishedAt }
  fragment Change on TaskChanged { cursor event { cursor type version status attempt reason at task { ...Row } } }`

const taskStream = `subscription ($taskId: ID!, $after: String) {
  taskStream(taskId: $taskId, after: $after) {
    __typename
    ... on TaskSnapshot { cursor output task { ...Row } }
    ...Change
    ... on OutputDelta { cursor attempt segment offset text }
    ... on OutputReset { cursor attempt segment model reason }
    ... on CaughtUp { cursor }
    ... on Heartbeat { cursor serverTime }
    ... on ResyncRequired { reason }
  }
} ${fields}`

const workspaceFeed = `subscription ($workspaceId: ID, $after: String, $filter: FeedFilter) {
  workspaceFeed(workspaceId: $workspaceId, after: $after, filter: $filter) {
    __typename
    ...Change
    ... on CaughtUp { cursor }
    ... on Heartbeat { cursor serverTime }
    ... on ResyncRequired { reason }
  }
} ${fields}`

type Item = {
  __typename: string
  cursor: string
  text?: string
  output?: string
  event?: { type: string; status: string; version: number; task: { id: string; status: string } }
}
type Answer = GraphQLAnswer<{ taskStream?: Item; workspaceFeed?: Item }>

const agentId = await createAgent()

test('a task is watched from its submission to its end, and again from every cursor', async () => {
  const paused = await createAgent()
  await changeAgent('pauseAgent', paused)
  const taskId = await createTask(paused)
  const stream = open(taskStream, { taskId })
  const start = [await next(stream), await next(stream)]
  await changeAgent('resumeAgent', paused)
  const items = [...start, ...(await all(stream))]
  const document = 'query ($id: ID!) { task(id: $id) { output } }'
  const { task } = await app.data<{ task: { output: string } }>(document, { id: taskId }, { token })
  const last = { __typename: 'CaughtUp', cursor: items.at(-1)?.cursor }

  expect(start.map(({ __typename }) => __typename)).toEqual(['TaskSnapshot', 'CaughtUp'])
  expect(textOf(items)).toBe(task.output)
  expect(items.at(-1)).toMatchObject({ event: { type: 'SUCCEEDED', task: { id: taskId, status: 'SUCCEEDED' } } })
  for (const [index, { cursor }] of items.entries()) {
    const again = await all(open(taskStream, { taskId, after: cursor }))
    expect(textOf(again)).toBe(textOf(items.slice(index + 1)))
    expect(versionsOf(again)).toEqual(versionsOf(items.slice(index + 1)))
    expect(again.at(-1)).toEqual(last)
  }
})

const textOf = (items: readonly Item[]): string => items.map((item) => item.text ?? '').join('')
const versionsOf = (items: readonly Item[]): number[] => items.flatMap(({ event }) => event?.version ?? [])

test('a feed brings what happens, through its filter', async () => {
  const other = await createAgent()
  const feed = open(workspaceFeed, { filter: { agentId: other, status: ['CANCELLED'] } })
  expect(await next(feed)).toMatchObject({ __typename: 'CaughtUp' })
  await createTask()
  const taskId = await createTask(other, later)
  await cancel(taskId)

  expect(await next(feed)).toMatchObject({
    __typename: 'TaskChanged',
    event: { type: 'CANCELLED', status: 'CANCELLED', version: 2, task: { id: taskId, status: 'CANCELLED' } },
  })
  await feed.return()
})

test('subscribers cost no query, however many there are', async () => {
  const [alone, watched] = [await createTask(agentId, later), await createTask(agentId, later)]
  const streams = Array.from({ length: 5 }, () => [
    open(taskStream, { taskId: watched }),
    open(workspaceFeed, {}),
  ]).flat()
  const isLive = (item: Item): boolean => item.__typename === 'CaughtUp'
  for (const stream of streams) while (!isLive(await next(stream)));

  reads.length = 0
  await cancel(alone)
  const cost = reads.length
  reads.length = 0
  await cancel(watched)
  for (const stream of streams) while ((await next(stream)).event?.task.id !== watched);

  expect(cost).toBeGreaterThan(0)
  expect(reads.length).toBe(cost)
  await Promise.all(streams.map((stream) => stream.return()))
})

const id = (type: string): string => encodeGlobalID(type, newId())
const badInput = (field: string): object => ({ code: 'BAD_USER_INPUT', details: { field } })
const position = { version: 1, segment: 0, offset: 0 }

test.each<[string, string, Record<string, unknown>, object]>([
  ['a task that is not there', taskStream, { taskId: id('Task') }, { code: 'NOT_FOUND' }],
  ['an id of another type', taskStream, { taskId: id('Agent') }, badInput('taskId')],
  ['a forged cursor', taskStream, { taskId: id('Task'), after: 'forged' }, badInput('after')],
  [
    "another task's cursor",
    taskStream,
    { taskId: id('Task'), after: taskCursor(newId(), position) },
    badInput('after'),
  ],
  ['a workspace that is not there', workspaceFeed, { workspaceId: id('Workspace') }, { code: 'NOT_FOUND' }],
  ["another workspace's cursor", workspaceFeed, { after: feedCursor(newId(), 1) }, badInput('after')],
  ['an agent that is none', workspaceFeed, { filter: { agentId: 'x' } }, badInput('filter.agentId')],
])('%s is an error before anything else', async (_what, document, variables, extensions) => {
  const [answer, ...rest] = await all(app.subscribe<Answer['data']>(document, variables, { token }))

  expect(rest).toEqual([])
  expect(answer?.errors?.[0]?.extensions).toMatchObject(extensions)
})

test('nobody watches without signing in', async () => {
  const [answer] = await all(app.subscribe(taskStream, { taskId: id('Task') }))

  expect(answer?.errors?.[0]?.extensions.code).toBe('UNAUTHENTICATED')
})

const later = { runAt: '2099-01-01T00:00:00Z' }

async function createAgent(): Promise<string> {
  const mutation = 'mutation ($input: CreateAgentInput!) { createAgent(input: $input) { agent { id } } }'
  const input = { name: 'Agent', instructions: 'Say something.' }
  return (await app.data<{ createAgent: { agent: { id: string } } }>(mutation, { input }, { token })).createAgent.agent
    .id
}

async function createTask(ofAgent = agentId, rest: object = {}): Promise<string> {
  const mutation = 'mutation ($input: CreateTaskInput!) { createTask(input: $input) { task { id } } }'
  const input = { agentId: ofAgent, prompt: 'Tell me.', ...rest }
  return (await app.data<{ createTask: { task: { id: string } } }>(mutation, { input }, { token })).createTask.task.id
}

async function changeAgent(mutation: 'pauseAgent' | 'resumeAgent', agent: string): Promise<void> {
  const document = `mutation ($input: AgentInput!) { ${mutation}(input: $input) { agent { id } } }`
  await app.data(document, { input: { id: agent } }, { token })
}

async function cancel(taskId: string): Promise<void> {
  const mutation = 'mutation ($input: CancelTaskInput!) { cancelTask(input: $input) { task { id } } }'
  await app.data(mutation, { input: { id: taskId } }, { token })
}

async function* open(document: string, variables: Record<string, unknown>): AsyncGenerator<Item, void, void> {
  for await (const { data, errors } of app.subscribe<Answer['data']>(document, variables, { token })) {
    const item = data?.taskStream ?? data?.workspaceFeed
    if (errors !== undefined || item === undefined) throw new Error(`there is no item: ${JSON.stringify(errors)}`)
    yield item
  }
}

async function all<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = []
  for await (const item of stream) items.push(item)
  return items
}

async function next(stream: AsyncGenerator<Item, void, void>): Promise<Item> {
  const step = await stream.next()
  if (step.done === true) throw new Error('the stream ended')
  return step.value
}
