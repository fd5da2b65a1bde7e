import { afterAll, expect, test } from 'vitest'
import { createUsersCommand } from '../../../src/cli/users.ts'
import { startTestApp } from '../../support/test-app.ts'
import { rowId } from '../tasks/graphql-fixture.ts'

const app = await startTestApp()
afterAll(() => app[Symbol.asyncDispose]())

const newPassword = 'quiet-harbour-lantern-77'
const prompt = 'the recipe of the secret sauce'

test('what is done is in the audit log, and no secret, prompt or e-mail is there or in a log line', async () => {
  const secrets: string[] = [newPassword, prompt]
  const owner = await app.signUp('somebody.special@example.com')
  const other = await app.signUp('another.person@example.com')
  for (const { email, password, token, refreshToken } of [owner, other])
    secrets.push(email, password, token, refreshToken)
  const call = async <Data>(
    document: string,
    variables: Record<string, unknown> = {},
    token = owner.token,
  ): Promise<Data> => app.data<Data>(document, variables, { token })

  const logIn = 'mutation ($input: LogInInput!) { logIn(input: $input) { accessToken refreshToken } }'
  await app.graphql(logIn, { input: { email: owner.email, password: 'a wrong password' } })
  secrets.push('a wrong password')
  const session = await app.data<{ logIn: { accessToken: string; refreshToken: string } }>(logIn, {
    input: { email: owner.email, password: owner.password },
  })
  secrets.push(session.logIn.accessToken, session.logIn.refreshToken)
  await call('mutation { logOut { ok } }', {}, session.logIn.accessToken)

  const workspace = (
    await call<{ createWorkspace: { workspace: { id: string } } }>(
      'mutation { createWorkspace(input: { name: "A plan" }) { workspace { id } } }',
    )
  ).createWorkspace.workspace.id
  await call('mutation ($id: ID!) { updateWorkspace(input: { id: $id, name: "Another plan" }) { workspace { id } } }', {
    id: workspace,
  })
  const added = await call<{ addWorkspaceMember: { member: { id: string } } }>(
    'mutation ($input: AddWorkspaceMemberInput!) { addWorkspaceMember(input: $input) { member { id } } }',
    { input: { workspaceId: workspace, email: other.email, role: 'VIEWER' } },
  )
  const member = added.addWorkspaceMember.member.id
  await call('mutation ($id: ID!) { setWorkspaceMemberRole(input: { id: $id, role: MEMBER }) { member { id } } }', {
    id: member,
  })
  await call('mutation ($id: ID!) { removeWorkspaceMember(input: { id: $id }) { workspace { id } } }', { id: member })

  const created = await call<{ createApiKey: { secret: string; apiKey: { id: string } } }>(
    'mutation ($id: ID!) { createApiKey(input: { workspaceId: $id, name: "x", scopes: [READ, TASKS, AGENTS] }) { secret apiKey { id } } }',
    { id: workspace },
  )
  const { secret, apiKey } = created.createApiKey
  const agent = (
    await call<{ createAgent: { agent: { id: string } } }>(
      'mutation { createAgent(input: { name: "Cook", instructions: "Follow the hidden instructions." }) { agent { id } } }',
      {},
      secret,
    )
  ).createAgent.agent.id
  secrets.push(secret, 'Follow the hidden instructions.')
  const task = (
    await call<{ createTask: { task: { id: string } } }>(
      'mutation ($input: CreateTaskInput!) { createTask(input: $input) { task { id } } }',
      { input: { agentId: agent, prompt, runAt: '2100-01-01T00:00:00.000Z' } },
      secret,
    )
  ).createTask.task.id
  await call('mutation ($id: ID!) { cancelTask(input: { id: $id }) { task { id } } }', { id: task }, secret)
  const rotated = await call<{ rotateApiKey: { secret: string } }>(
    'mutation ($id: ID!) { rotateApiKey(input: { id: $id }) { secret } }',
    { id: apiKey.id },
  )
  secrets.push(rotated.rotateApiKey.secret)
  await call('mutation ($id: ID!) { revokeApiKey(input: { id: $id }) { apiKey { id } } }', { id: apiKey.id })

  const change = 'mutation ($input: ChangePasswordInput!) { changePassword(input: $input) { user { id } } }'
  await app.graphql(change, { input: { currentPassword: 'a wrong password', newPassword } }, { token: owner.token })
  await call(change, { input: { currentPassword: owner.password, newPassword } })
  await call('mutation ($id: ID!) { setUserDisabled(input: { id: $id, disabled: true }) { user { id } } }', {
    id: other.id,
  })
  await call('mutation ($id: ID!) { setUserDisabled(input: { id: $id, disabled: false }) { user { id } } }', {
    id: other.id,
  })
  await createUsersCommand(async () => newPassword)({
    args: ['set-password', other.email],
    env: app.env,
    output: () => undefined,
  })

  const events = await app.services.db.prisma.auditEvent.findMany({ orderBy: [{ at: 'asc' }, { id: 'asc' }] })
  expect(new Set(events.map(({ action }) => action))).toEqual(
    new Set([
      'user.signed_up',
      'user.log_in_failed',
      'user.logged_in',
      'user.logged_out',
      'workspace.created',
      'workspace.updated',
      'member.added',
      'member.role_changed',
      'member.removed',
      'api_key.created',
      'api_key.rotated',
      'api_key.revoked',
      'agent.created',
      'task.cancelled',
      'user.password_change_failed',
      'user.password_changed',
      'user.disabled',
      'user.enabled',
      'user.password_set',
    ]),
  )
  // What a key does is its maker's act, and says which key it was.
  expect(events.find(({ action }) => action === 'task.cancelled')).toMatchObject({
    actorId: rowId(owner.id),
    details: { apiKeyId: rowId(apiKey.id) },
  })
  const written = JSON.stringify([events, app.logs.lines])
  expect(secrets.filter((text) => written.includes(text))).toEqual([])
})
