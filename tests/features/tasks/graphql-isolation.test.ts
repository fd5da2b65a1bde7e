import { encodeGlobalID } from '@pothos/plugin-relay'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { newId } from '../../../src/lib/ids.ts'
import type { GraphQLAnswer } from '../../support/graphql-client.ts'
import { startTestApp, type TestUser } from '../../support/test-app.ts'
import { fillWorkspace, rowId, type Ids } from './graphql-fixture.ts'

const app = await startTestApp()
afterAll(() => app[Symbol.asyncDispose]())

type Case = { name: string; document: string; variables: (ids: Ids) => Record<string, unknown> }

const reads: Case[] = [
  {
    name: 'workspace',
    document: 'query ($id: ID) { workspace(id: $id) { name feedCursor stats { queued } } }',
    variables: (ids) => ({ id: ids.workspace }),
  },
  {
    name: 'agent',
    document: 'query ($id: ID!) { agent(id: $id) { instructions } }',
    variables: ({ agent: id }) => ({ id }),
  },
  {
    name: 'task',
    document: 'query ($id: ID!) { task(id: $id) { prompt status } }',
    variables: ({ task: id }) => ({ id }),
  },
  {
    name: 'agents',
    document: 'query ($id: ID) { agents(workspaceId: $id) { edges { node { id } } } }',
    variables: (ids) => ({ id: ids.workspace }),
  },
  {
    name: 'tasks',
    document: 'query ($id: ID) { tasks(workspaceId: $id) { edges { node { id } } } }',
    variables: (ids) => ({ id: ids.workspace }),
  },
  ...(['workspace', 'member', 'agent', 'task'] as const).map((kind) => ({
    name: `node of a ${kind}`,
    document: 'query ($id: ID!) { node(id: $id) { __typename ... on Task { prompt } ... on Agent { instructions } } }',
    variables: (ids: Ids) => ({ id: ids[kind] }),
  })),
  {
    name: 'nodes',
    document: 'query ($ids: [ID!]!) { nodes(ids: $ids) { __typename } }',
    variables: ({ workspace, member, agent, task }) => ({ ids: [workspace, member, agent, task] }),
  },
]

const mutation = (name: string, type: string, selection: string): string =>
  `mutation ($input: ${type}!) { ${name}(input: $input) { ${selection} } }`

// What ends something comes last, so that the owner can do each.
const writes: Case[] = [
  {
    name: 'createAgent',
    document: mutation('createAgent', 'CreateAgentInput', 'agent { name }'),
    variables: ({ workspace }) => ({ input: { workspaceId: workspace, name: 'New', instructions: '-' } }),
  },
  {
    name: 'updateAgent',
    document: mutation('updateAgent', 'UpdateAgentInput', 'agent { name }'),
    variables: ({ agent: id }) => ({ input: { id, name: 'Taken over' } }),
  },
  ...['pauseAgent', 'resumeAgent'].map((name) => ({
    name,
    document: mutation(name, 'AgentInput', 'agent { status }'),
    variables: ({ agent: id }: Ids) => ({ input: { id } }),
  })),
  {
    name: 'createTask',
    document: mutation('createTask', 'CreateTaskInput', 'task { prompt }'),
    variables: ({ agent }) => ({ input: { agentId: agent, prompt: '-', runAt: '2100-01-01T00:00:00.000Z' } }),
  },
  {
    name: 'createTaskGraph',
    document: mutation('createTaskGraph', 'CreateTaskGraphInput', 'tasks { prompt }'),
    variables: ({ agent }) => ({
      input: { tasks: [{ key: 'a', agentId: agent, prompt: '-', runAt: '2100-01-01T00:00:00.000Z' }] },
    }),
  },
  {
    name: 'cancelTask',
    document: mutation('cancelTask', 'CancelTaskInput', 'task { status }'),
    variables: ({ task: id }) => ({ input: { id } }),
  },
  {
    name: 'retryTask',
    document: mutation('retryTask', 'RetryTaskInput', 'task { status }'),
    variables: ({ task: id }) => ({ input: { id } }),
  },
  ...['cancelTasks', 'retryTasks'].map((name) => ({
    name,
    document: mutation(name, 'BulkTasksInput', 'count'),
    variables: ({ workspace }: Ids) => ({ input: { workspaceId: workspace, filter: {} } }),
  })),
  {
    name: 'archiveAgent',
    document: mutation('archiveAgent', 'AgentInput', 'agent { status }'),
    variables: ({ agent: id }) => ({ input: { id } }),
  },
]

const ownerWrites: Case[] = [
  {
    name: 'updateWorkspace',
    document: mutation('updateWorkspace', 'UpdateWorkspaceInput', 'workspace { name }'),
    variables: ({ workspace: id }) => ({ input: { id, name: 'Taken over' } }),
  },
]

const all = [...reads, ...ownerWrites, ...writes]

let owner: TestUser
let stranger: TestUser
let reader: TestUser
let ids: Ids

beforeAll(async () => {
  // The first account is an administrator, and being one opens no workspace either.
  stranger = await app.signUp()
  owner = await app.signUp()
  reader = await app.signUp()
  ids = await fillWorkspace(app, owner)
  const membership = {
    id: newId(),
    workspaceId: rowId(ids.workspace),
    userId: rowId(reader.id),
    role: 'VIEWER' as const,
  }
  await app.services.db.prisma.workspaceMember.create({ data: membership })
})

/** Ids of the same types that nothing has. */
const missingIds = (): Ids => ({
  workspace: encodeGlobalID('Workspace', newId()),
  member: encodeGlobalID('WorkspaceMember', newId()),
  agent: encodeGlobalID('Agent', newId()),
  task: encodeGlobalID('Task', newId()),
  user: encodeGlobalID('User', newId()),
})

const ask = (user: TestUser | null, { document, variables }: Case, which = ids): Promise<GraphQLAnswer<unknown>> =>
  app.graphql(document, variables(which), user === null ? {} : { token: user.token })

/** An answer without what differs between any two. */
function comparable({ data, errors }: GraphQLAnswer<unknown>): unknown {
  const bare = errors?.map(({ message, path, extensions: { code, details, suggestions } }) => {
    return { message, path, code, details, suggestions }
  })
  return { data, errors: bare }
}

async function rowsOfOwner(): Promise<unknown> {
  const { prisma } = app.services.db
  const where = { workspaceId: rowId(ids.workspace) }
  return {
    workspace: await prisma.workspace.findUnique({ where: { id: where.workspaceId } }),
    agents: await prisma.agent.findMany({ where, orderBy: { id: 'asc' } }),
    tasks: await prisma.task.findMany({ where, orderBy: { id: 'asc' } }),
  }
}

describe('to somebody else, another workspace is like a missing one', () => {
  test.each(all)('$name', async (which) => {
    const before = await rowsOfOwner()
    const foreign = await ask(stranger, which)
    const missing = await ask(stranger, which, missingIds())
    expect(comparable(foreign)).toEqual(comparable(missing))
    const codes = foreign.errors?.map(({ extensions }) => extensions.code) ?? []
    expect(codes.filter((code) => code !== 'NOT_FOUND')).toEqual([])
    expect(await rowsOfOwner()).toEqual(before)
  })

  test('a filter by a foreign agent finds nothing', async () => {
    const document = 'query ($filter: TaskFilter) { tasks(filter: $filter) { edges { node { id } } } }'
    const answer = await app.data(document, { filter: { agentId: ids.agent } }, { token: stranger.token })
    expect(answer).toEqual({ tasks: { edges: [] } })
  })
})

test.each(all)('$name needs somebody who is signed in', async (which) => {
  const { errors } = await ask(null, which)
  expect(errors?.map(({ extensions }) => extensions.code)).toEqual(['UNAUTHENTICATED'])
})

describe('a VIEWER', () => {
  test.each(reads)('may read: $name', async (which) => {
    expect(await ask(reader, which)).toMatchObject({ data: expect.not.objectContaining({ [which.name]: null }) })
  })

  test.each([...ownerWrites, ...writes])('may not write: $name', async (which) => {
    const before = await rowsOfOwner()
    const { errors } = await ask(reader, which)
    expect(errors?.map(({ extensions }) => extensions.code)).toEqual(['FORBIDDEN'])
    expect(await rowsOfOwner()).toEqual(before)
  })
})

test.each(all)('the owner may do all of it: $name', async (which) => {
  const { data, errors } = await ask(owner, which)
  expect(errors).toBeUndefined()
  expect(JSON.stringify(data)).not.toContain('null}')
})
