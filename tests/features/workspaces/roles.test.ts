import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createSchema } from '../../../src/graphql/schema.ts'
import { startTestApp, type TestUser } from '../../support/test-app.ts'
import { rowId } from '../tasks/graphql-fixture.ts'
import { insertSharedWorkspace, type Role, type SharedWorkspace } from './workspace-factory.ts'

const app = await startTestApp()
afterAll(() => app[Symbol.asyncDispose]())

type Case = { name: string; input: string; selection: string; least: Role; of: (ids: SharedWorkspace) => object }

const agentCase = (name: string): Case => ({
  name,
  input: 'AgentInput',
  selection: 'agent { status }',
  least: 'MEMBER',
  of: ({ agent: id }) => ({ id }),
})
const apiKeyCase = (name: string, selection: string): Case => ({
  name,
  input: 'ApiKeyInput',
  selection,
  least: 'OWNER',
  of: ({ apiKey: id }) => ({ id }),
})

/** Every mutation of what a workspace has, and the least role that may do it to what somebody else has made. */
const cases: Case[] = [
  {
    name: 'updateWorkspace',
    input: 'UpdateWorkspaceInput',
    selection: 'workspace { name }',
    least: 'OWNER',
    of: ({ workspace: id }) => ({ id, name: 'Renamed' }),
  },
  {
    name: 'addWorkspaceMember',
    input: 'AddWorkspaceMemberInput',
    selection: 'member { role }',
    least: 'OWNER',
    of: ({ workspace: workspaceId }) => ({ workspaceId, email: newcomer.email, role: 'MEMBER' }),
  },
  {
    name: 'setWorkspaceMemberRole',
    input: 'SetWorkspaceMemberRoleInput',
    selection: 'member { role }',
    least: 'OWNER',
    of: ({ bystander: id }) => ({ id, role: 'OWNER' }),
  },
  {
    name: 'removeWorkspaceMember',
    input: 'RemoveWorkspaceMemberInput',
    selection: 'workspace { name }',
    least: 'OWNER',
    of: ({ bystander: id }) => ({ id }),
  },
  {
    name: 'createApiKey',
    input: 'CreateApiKeyInput',
    selection: 'apiKey { name }',
    least: 'MEMBER',
    of: ({ workspace: workspaceId }) => ({ workspaceId, name: 'Another', scopes: ['READ'] }),
  },
  apiKeyCase('rotateApiKey', 'apiKey { name }'),
  apiKeyCase('revokeApiKey', 'apiKey { name }'),
  {
    name: 'createAgent',
    input: 'CreateAgentInput',
    selection: 'agent { name }',
    least: 'MEMBER',
    of: ({ workspace: workspaceId }) => ({ workspaceId, name: 'Another', instructions: '-' }),
  },
  {
    name: 'updateAgent',
    input: 'UpdateAgentInput',
    selection: 'agent { name }',
    least: 'MEMBER',
    of: ({ agent: id }) => ({ id, name: 'Renamed' }),
  },
  ...['pauseAgent', 'resumeAgent', 'archiveAgent'].map(agentCase),
  {
    name: 'createTask',
    input: 'CreateTaskInput',
    selection: 'task { prompt }',
    least: 'MEMBER',
    of: ({ agent: agentId }) => ({ agentId, prompt: '-', runAt: '2100-01-01T00:00:00.000Z' }),
  },
  {
    name: 'cancelTask',
    input: 'CancelTaskInput',
    selection: 'task { status }',
    least: 'MEMBER',
    of: ({ task: id }) => ({ id }),
  },
  {
    name: 'complete',
    input: 'CompletionInput',
    selection: 'text',
    least: 'MEMBER',
    of: ({ workspace: workspaceId }) => ({ workspaceId, prompt: 'Hello.' }),
  },
]

/** They are about an account or the server and not about a workspace, or their features' own tests hold them to roles. */
const elsewhere = new Set(
  `signUp logIn refreshSession logOut revokeSession revokeOtherSessions changePassword createWorkspace setUserDisabled setFeatureFlag
   createTaskGraph cancelTasks retryTask retryTasks setTaskPriority createSchedule updateSchedule deleteSchedule setBudget deleteBudget
   createWebhook updateWebhook rotateWebhookSecret deleteWebhook`.split(/\s+/),
)

let people: Record<Role, TestUser>
let bystander: TestUser
let newcomer: TestUser
let stranger: TestUser
beforeAll(async () => {
  // The first account is an administrator, and being one opens no workspace.
  stranger = await app.signUp()
  people = { OWNER: await app.signUp(), MEMBER: await app.signUp(), VIEWER: await app.signUp() }
  bystander = await app.signUp()
  newcomer = await app.signUp()
})

const ranks: Record<Role, number> = { VIEWER: 0, MEMBER: 1, OWNER: 2 }
const roles: Role[] = ['OWNER', 'MEMBER', 'VIEWER']

async function codesOf({ name, input, selection, of }: Case, ids: SharedWorkspace, token?: string): Promise<string[]> {
  const document = `mutation ($input: ${input}!) { ${name}(input: $input) { ${selection} } }`
  const { errors } = await app.graphql(document, { input: of(ids) }, token === undefined ? {} : { token })
  return errors?.map(({ extensions }) => extensions.code) ?? []
}

async function rowsOf({ workspace }: SharedWorkspace): Promise<unknown> {
  const { prisma } = app.services.db
  const where = { workspaceId: rowId(workspace) }
  const orderBy = { id: 'asc' } as const
  return {
    workspace: await prisma.workspace.findUnique({ where: { id: rowId(workspace) } }),
    members: await prisma.workspaceMember.findMany({ where, orderBy }),
    apiKeys: await prisma.apiKey.findMany({ where, orderBy }),
    agents: await prisma.agent.findMany({ where, orderBy }),
    tasks: await prisma.task.findMany({ where, orderBy }),
    completions: await prisma.completion.findMany({ where, orderBy }),
    audit: await prisma.auditEvent.findMany({ where, orderBy }),
  }
}

describe.each(cases)('$name', (which) => {
  test.each(roles)('by %s', async (role) => {
    const ids = await insertSharedWorkspace(app, people, bystander)
    const before = await rowsOf(ids)
    const mayDoIt = ranks[role] >= ranks[which.least]
    expect(await codesOf(which, ids, people[role].token)).toEqual(mayDoIt ? [] : ['FORBIDDEN'])
    if (!mayDoIt) expect(await rowsOf(ids)).toEqual(before)
  })

  test('by somebody who is not in it, and by nobody', async () => {
    const ids = await insertSharedWorkspace(app, people, bystander)
    const before = await rowsOf(ids)
    expect(await codesOf(which, ids, stranger.token)).toEqual(['NOT_FOUND'])
    expect(await codesOf(which, ids)).toEqual(['UNAUTHENTICATED'])
    expect(await rowsOf(ids)).toEqual(before)
  })
})

test('no mutation is left out', () => {
  const all = Object.keys(createSchema().getMutationType()?.getFields() ?? {}).filter(
    (name) => !name.startsWith('test'),
  )
  expect(all.filter((name) => !elsewhere.has(name) && !cases.some((which) => which.name === name))).toEqual([])
})
