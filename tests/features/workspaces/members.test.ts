import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startTestApp, type TestUser } from '../../support/test-app.ts'
import { rowId } from '../tasks/graphql-fixture.ts'
import { insertSharedWorkspace, type Role, type SharedWorkspace } from './workspace-factory.ts'

const app = await startTestApp()
const { prisma } = app.services.db
afterAll(() => app[Symbol.asyncDispose]())

let people: Record<Role, TestUser>
let bystander: TestUser
beforeAll(async () => {
  people = { OWNER: await app.signUp(), MEMBER: await app.signUp(), VIEWER: await app.signUp() }
  bystander = await app.signUp()
})

const addMutation =
  'mutation ($input: AddWorkspaceMemberInput!) { addWorkspaceMember(input: $input) { member { id role user { email } workspace { id } } } }'
const setMutation =
  'mutation ($id: ID!, $role: WorkspaceRole!) { setWorkspaceMemberRole(input: { id: $id, role: $role }) { member { role } } }'
const removeMutation = 'mutation ($id: ID!) { removeWorkspaceMember(input: { id: $id }) { workspace { id } } }'

const share = (): Promise<SharedWorkspace> => insertSharedWorkspace(app, people, bystander)

async function errorOf(document: string, variables: Record<string, unknown>, { token }: TestUser): Promise<unknown> {
  const { errors } = await app.graphql(document, variables, { token })
  return errors?.[0] && [errors[0].extensions.code, errors[0].extensions.details['field'] ?? null]
}

async function auditOf({ workspace }: SharedWorkspace): Promise<unknown[]> {
  const rows = await prisma.auditEvent.findMany({ where: { workspaceId: rowId(workspace) }, orderBy: { id: 'asc' } })
  return rows.map(({ action, actorId, target, details }) => ({ action, actorId, target, details }))
}

async function personalOf(user: TestUser): Promise<{ workspace: string; member: string }> {
  const { workspace } = await app.data<{ workspace: { id: string; members: { id: string }[] } }>(
    '{ workspace { id members { id } } }',
    {},
    { token: user.token },
  )
  return { workspace: workspace.id, member: workspace.members[0]?.id ?? '' }
}

describe('addWorkspaceMember', () => {
  test('lets somebody in, and writes it down without their e-mail', async () => {
    const ids = await share()
    const newcomer = await app.signUp()
    const input = { workspaceId: ids.workspace, email: ` ${newcomer.email.toUpperCase()}`, role: 'VIEWER' }
    const { addWorkspaceMember } = await app.data<{ addWorkspaceMember: { member: { id: string } } }>(
      addMutation,
      { input },
      { token: people.OWNER.token },
    )
    expect(addWorkspaceMember.member).toMatchObject({
      role: 'VIEWER',
      user: { email: newcomer.email },
      workspace: { id: ids.workspace },
    })
    const seen = await app.data('query ($id: ID!) { workspace(id: $id) { name } }', { id: ids.workspace }, newcomer)
    expect(seen).toEqual({ workspace: { name: 'Shared' } })
    expect(await auditOf(ids)).toEqual([
      {
        action: 'member.added',
        actorId: rowId(people.OWNER.id),
        target: rowId(addWorkspaceMember.member.id),
        details: { userId: rowId(newcomer.id), role: 'VIEWER' },
      },
    ])
  })

  test.each([
    ['an e-mail that nobody has', ['NOT_FOUND', 'input.email'], async () => 'nobody@example.com'],
    ['what is no e-mail', ['NOT_FOUND', 'input.email'], async () => 'nobody'],
    ['somebody who is disabled', ['NOT_FOUND', 'input.email'], disabledEmail],
    ['a member', ['CONFLICT', 'input.email'], async () => bystander.email],
  ])('refuses %s', async (_who, error, emailOf) => {
    const ids = await share()
    const input = { workspaceId: ids.workspace, email: await emailOf(), role: 'MEMBER' }
    expect(await errorOf(addMutation, { input }, people.OWNER)).toEqual(error)
    expect(await auditOf(ids)).toEqual([])
  })

  async function disabledEmail(): Promise<string> {
    const user = await app.signUp()
    await prisma.user.update({ where: { id: rowId(user.id) }, data: { disabled: true } })
    return user.email
  }

  test('lets one in of two who come at once', async () => {
    const ids = await share()
    const { email } = await app.signUp()
    const input = { workspaceId: ids.workspace, email, role: 'MEMBER' }
    const answers = await Promise.all([1, 2].map(() => errorOf(addMutation, { input }, people.OWNER)))
    expect(answers.filter((error) => error !== undefined)).toEqual([['CONFLICT', 'input.email']])
  })
})

describe('there is always an owner', () => {
  test.each([
    ['demoted', setMutation, { role: 'MEMBER' }],
    ['removed', removeMutation, {}],
  ])('the last one is not %s', async (_what, document, more) => {
    const ids = await share()
    expect(await errorOf(document, { id: ids.members.OWNER, ...more }, people.OWNER)).toEqual(['CONFLICT', null])
  })

  test('of two owners who demote each other at once one stays', async () => {
    const ids = await share()
    await app.data(setMutation, { id: ids.members.MEMBER, role: 'OWNER' }, people.OWNER)
    const answers = await Promise.all([
      errorOf(setMutation, { id: ids.members.MEMBER, role: 'VIEWER' }, people.OWNER),
      errorOf(setMutation, { id: ids.members.OWNER, role: 'VIEWER' }, people.MEMBER),
    ])
    expect(answers.filter((error) => error === undefined)).toHaveLength(1)
    const owners = await prisma.workspaceMember.count({ where: { workspaceId: rowId(ids.workspace), role: 'OWNER' } })
    expect(owners).toBe(1)
  })

  test.each([
    ['demoted', setMutation, { role: 'VIEWER' }],
    ['removed', removeMutation, {}],
  ])('whose personal workspace it is is not %s, also by another owner', async (_what, document, more) => {
    const [user, other] = [await app.signUp(), await app.signUp()]
    const { workspace, member } = await personalOf(user)
    await app.data(addMutation, { input: { workspaceId: workspace, email: other.email, role: 'OWNER' } }, user)
    for (const who of [user, other]) {
      expect(await errorOf(document, { id: member, ...more }, who)).toEqual(['CONFLICT', null])
    }
  })
})

describe('removeWorkspaceMember', () => {
  test('takes the workspace and its keys away from somebody', async () => {
    const ids = await share()
    const input = { workspaceId: ids.workspace, name: 'Theirs', scopes: ['READ'] }
    const { createApiKey } = await app.data<{ createApiKey: { secret: string } }>(
      'mutation ($input: CreateApiKeyInput!) { createApiKey(input: $input) { secret } }',
      { input },
      people.MEMBER,
    )
    const seen = 'query ($id: ID!) { workspace(id: $id) { name } }'
    await app.data(seen, { id: ids.workspace }, { token: createApiKey.secret })
    await app.data(removeMutation, { id: ids.members.MEMBER }, people.OWNER)
    expect(await app.data(seen, { id: ids.workspace }, people.MEMBER)).toEqual({ workspace: null })
    expect(await errorOf(seen, { id: ids.workspace }, { ...people.MEMBER, token: createApiKey.secret })).toEqual([
      'UNAUTHENTICATED',
      null,
    ])
    expect((await auditOf(ids)).at(-1)).toMatchObject({
      action: 'member.removed',
      target: rowId(ids.members.MEMBER),
      details: { userId: rowId(people.MEMBER.id), role: 'MEMBER', revokedApiKeys: 1 },
    })
  })

  test.each(['MEMBER', 'VIEWER'] as const)('lets a %s leave', async (role) => {
    const ids = await share()
    expect(await errorOf(removeMutation, { id: ids.members[role] }, people[role])).toBeUndefined()
    expect(await errorOf(removeMutation, { id: ids.members[role] }, people.OWNER)).toEqual(['NOT_FOUND', 'input.id'])
  })
})
