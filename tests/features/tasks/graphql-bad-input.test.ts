import { afterAll, beforeAll, expect, test } from 'vitest'
import { encodeGlobalID } from '@pothos/plugin-relay'
import { newId } from '../../../src/lib/ids.ts'
import { startTestApp, type TestUser } from '../../support/test-app.ts'
import { fillWorkspace, type Ids } from './graphql-fixture.ts'

const app = await startTestApp()
afterAll(() => app[Symbol.asyncDispose]())

let user: TestUser
let ids: Ids

beforeAll(async () => {
  user = await app.signUp()
  ids = await fillWorkspace(app, user)
})

async function refusal(document: string, variables: Record<string, unknown>): Promise<unknown> {
  const { errors } = await app.graphql(document, variables, { token: user.token })
  return errors?.map(({ extensions: { code, details } }) => ({ code, field: details['field'] }))
}

const badInput = (field: string): unknown => [{ code: 'BAD_USER_INPUT', field }]
const long = (n: number): string => 'x'.repeat(n)
const aTask = (): string => encodeGlobalID('Task', newId())

const agentInputs: [string, Record<string, unknown>][] = [
  ['input.workspaceId', { workspaceId: aTask() }],
  ['input.workspaceId', { workspaceId: 'nonsense' }],
  ['input.name', { name: '  ' }],
  ['input.name', { name: long(101) }],
  ['input.name', { name: 'a\u0007b' }],
  ['input.description', { description: long(2_001) }],
  ['input.instructions', { instructions: '' }],
  ['input.instructions', { instructions: long(65_537) }],
  ['input.models', { models: Array.from({ length: 9 }, () => 'demo/demo') }],
  ['input.models.0', { models: ['nobody/nothing'] }],
  ['input.temperature', { temperature: 2.5 }],
  ['input.maxOutputTokens', { maxOutputTokens: 0 }],
  ['input.outputSchema', { outputSchema: 'text' }],
  ['input.outputSchema', { outputSchema: { type: 'nonsense' } }],
  ['input.concurrency', { concurrency: 1_001 }],
  ['input.retryPolicy.maxAttempts', { retryPolicy: { maxAttempts: 0 } }],
  ['input.retryPolicy.initialDelayMs', { retryPolicy: { initialDelayMs: -1 } }],
  ['input.retryPolicy.maxDelayMs', { retryPolicy: { initialDelayMs: 2, maxDelayMs: 1 } }],
  ['input.timeoutMs', { timeoutMs: 999 }],
  ['input.crashPolicy', { crashPolicy: 'IGNORE' }],
  ['input.state', { state: [1] }],
  ['input.state', { state: { text: long(70_000) } }],
]

test.each(agentInputs)('createAgent refuses a wrong %s', async (field, wrong) => {
  const document = 'mutation ($input: CreateAgentInput!) { createAgent(input: $input) { agent { id } } }'
  expect(await refusal(document, { input: { name: 'A', instructions: 'B', ...wrong } })).toEqual(badInput(field))
})

test.each([
  ...agentInputs.filter(([field]) => field !== 'input.workspaceId'),
  ['input.id', { id: aTask() }],
  ['input.name', { name: null }],
  ['input.concurrency', { concurrency: null }],
  ['input.state', { state: null }],
] as [string, Record<string, unknown>][])('updateAgent refuses a wrong %s', async (field, wrong) => {
  const document = 'mutation ($input: UpdateAgentInput!) { updateAgent(input: $input) { agent { id } } }'
  expect(await refusal(document, { input: { id: ids.agent, ...wrong } })).toEqual(badInput(field))
})

test.each<[string, Record<string, unknown>]>([
  ['input.agentId', { agentId: aTask() }],
  ['input.prompt', { prompt: '' }],
  ['input.prompt', { prompt: long(262_145) }],
  ['input.prompt', { prompt: 'NUL \u0000' }],
  ['input.name', { name: '' }],
  ['input.name', { name: long(201) }],
  ['input.input', { input: { text: long(262_144) } }],
  ['input.priority', { priority: 101 }],
  ['input.priority', { priority: -101 }],
  ['input.runAt', { runAt: 'tomorrow' }],
  ['input.maxAttempts', { maxAttempts: 0 }],
  ['input.maxAttempts', { maxAttempts: 21 }],
  ['input.timeoutMs', { timeoutMs: 999 }],
  ['input.timeoutMs', { timeoutMs: 3_600_001 }],
  ['input.idempotencyKey', { idempotencyKey: '' }],
  ['input.idempotencyKey', { idempotencyKey: long(201) }],
  ['input.nothing', { nothing: 1 }],
])('createTask refuses a wrong %s', async (field, wrong) => {
  const document = 'mutation ($input: CreateTaskInput!) { createTask(input: $input) { task { id } } }'
  expect(await refusal(document, { input: { agentId: ids.agent, prompt: 'P', ...wrong } })).toEqual(badInput(field))
})

test('other mutations name the wrong field', async () => {
  const cancel = 'mutation ($input: CancelTaskInput!) { cancelTask(input: $input) { task { id } } }'
  expect(await refusal(cancel, { input: { id: ids.task, reason: long(501) } })).toEqual(badInput('input.reason'))
  expect(await refusal(cancel, { input: { id: ids.agent } })).toEqual(badInput('input.id'))
  const create = 'mutation ($input: CreateWorkspaceInput!) { createWorkspace(input: $input) { workspace { id } } }'
  expect(await refusal(create, { input: { name: '\u0001' } })).toEqual(badInput('input.name'))
  const rename = 'mutation ($input: UpdateWorkspaceInput!) { updateWorkspace(input: $input) { workspace { id } } }'
  expect(await refusal(rename, { input: { id: ids.workspace, name: long(101) } })).toEqual(badInput('input.name'))
  expect(await refusal(rename, { input: { id: ids.agent, name: 'A' } })).toEqual(badInput('input.id'))
})

const cursor = (text: string): string => Buffer.from(text).toString('base64url')

const pages: [string, Record<string, unknown>][] = [
  ['first', { first: 101 }],
  ['first', { first: -1 }],
  ['last', { last: 101 }],
  ['last', { first: 1, last: 1 }],
  ['after', { after: 'nonsense' }],
  ['after', { after: cursor(`1:${newId()};`) }],
  ['before', { before: cursor(`-1:${newId()}`) }],
  ['before', { first: 1, before: cursor(`1:${newId()}`) }],
]

test.each(pages)('lists refuse a wrong %s: %j', async (field, args) => {
  const types = { first: 'Int', last: 'Int', after: 'String', before: 'String' }
  const variables = Object.entries(types).map(([name, type]) => `$${name}: ${type}`)
  const uses = Object.keys(types).map((name) => `${name}: $${name}`)
  for (const list of ['agents', 'tasks']) {
    const lists = { root: `${list}(${uses.join()}) { edges { cursor } }` }
    for (const selection of [lists.root, `workspace { ${lists.root} }`]) {
      expect(await refusal(`query (${variables.join()}) { ${selection} }`, args)).toEqual(badInput(field))
    }
  }
})

test.each<[string, Record<string, unknown>]>([
  ['filter.search', { filter: { search: long(201) } }],
  ['filter.search', { filter: { search: '\u0000' } }],
  ['filter.agentId', { filter: { agentId: aTask() } }],
  ['filter.status.1', { filter: { status: ['FAILED', 'LATE'] } }],
  ['filter.createdAfter', { filter: { createdAfter: '2026-13-01T00:00:00Z' } }],
  ['filter.nothing', { filter: { nothing: true } }],
])('tasks refuses a wrong %s', async (field, variables) => {
  const document = 'query ($filter: TaskFilter) { tasks(filter: $filter) { edges { cursor } } }'
  expect(await refusal(document, variables)).toEqual(badInput(field))
})

test('by id, an id of something else is refused', async () => {
  expect(await refusal('query ($id: ID!) { task(id: $id) { id } }', { id: ids.agent })).toEqual(badInput('id'))
  expect(await refusal('query ($id: ID!) { agent(id: $id) { id } }', { id: ids.task })).toEqual(badInput('id'))
  expect(await refusal('query ($id: ID!) { workspace(id: $id) { id } }', { id: ids.task })).toEqual(badInput('id'))
  expect(await refusal('query ($id: ID!) { node(id: $id) { id } }', { id: 'nonsense' })).toEqual(badInput('id'))
})

test.each([
  ['first', { first: 101 }],
  ['after', { after: cursor('event:x') }],
  ['after', { after: cursor('event:01') }],
  ['after', { after: cursor('event:2147483648') }],
])('the events of a task refuse a wrong %s: %j', async (field, args) => {
  const document = `query ($id: ID!, $first: Int, $after: String) {
    task(id: $id) { events(first: $first, after: $after) { edges { cursor } } }
  }`
  expect(await refusal(document, { id: ids.task, ...args })).toEqual(badInput(field))
})
