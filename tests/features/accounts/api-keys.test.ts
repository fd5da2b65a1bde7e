import { encodeGlobalID } from '@pothos/plugin-relay'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../../src/lib/clock.ts'
import { newId } from '../../../src/lib/ids.ts'
import { connectSocket, openSocket } from '../../support/raw-socket.ts'
import '../../support/graphql-test-fields.ts'
import { startTestApp, type TestUser } from '../../support/test-app.ts'
import { until } from '../../support/until.ts'
import { fillWorkspace, rowId, type Ids } from '../tasks/graphql-fixture.ts'

let clockOffsetMs = 0
const clock = { ...systemClock, now: () => new Date(Date.now() + clockOffsetMs) }
const app = await startTestApp({ overrides: { clock } })
const { prisma } = app.services.db
await app.signUp()
afterAll(() => app[Symbol.asyncDispose]())

type Scope = 'READ' | 'TASKS' | 'AGENTS' | 'COMPLETIONS'
const allScopes: Scope[] = ['READ', 'TASKS', 'AGENTS', 'COMPLETIONS']
type NewKey = { id: string; secret: string; prefix: string }

const createKeyMutation = `mutation ($input: CreateApiKeyInput!) {
  createApiKey(input: $input) { secret apiKey { id name prefix scopes expiresAt lastUsedAt } }
}`

async function createKey(user: TestUser, scopes: Scope[], more: Record<string, unknown> = {}): Promise<NewKey> {
  const input = { name: 'A program', scopes, ...more }
  const answer = await app.data<{ createApiKey: { secret: string; apiKey: { id: string; prefix: string } } }>(
    createKeyMutation,
    { input },
    { token: user.token },
  )
  const { secret, apiKey } = answer.createApiKey
  return { secret, ...apiKey }
}

async function codeOf(document: string, variables: Record<string, unknown>, token: string): Promise<string | null> {
  const { errors } = await app.graphql(document, variables, { token })
  return errors?.[0]?.extensions.code ?? null
}

async function reasonOf(token: string): Promise<unknown> {
  const { errors } = await app.graphql('{ viewer { user { id } } }', {}, { token })
  return errors?.[0]?.extensions.details['reason'] ?? null
}

/** A workspace of the user beside the personal one, with an agent in it. */
async function secondWorkspace(user: TestUser): Promise<{ workspace: string; agent: string }> {
  const { createWorkspace } = await app.data<{ createWorkspace: { workspace: { id: string } } }>(
    'mutation { createWorkspace(input: { name: "Second" }) { workspace { id } } }',
    {},
    { token: user.token },
  )
  const workspace = createWorkspace.workspace.id
  const input = { workspaceId: workspace, name: 'Hidden', instructions: '-' }
  const { createAgent } = await app.data<{ createAgent: { agent: { id: string } } }>(
    'mutation ($input: CreateAgentInput!) { createAgent(input: $input) { agent { id } } }',
    { input },
    { token: user.token },
  )
  return { workspace, agent: createAgent.agent.id }
}

describe('a new key', () => {
  test('is shown once, stored as a digest, and opens HTTP, event streams and sockets', async () => {
    const user = await app.signUp()
    const ids = await fillWorkspace(app, user)
    const key = await createKey(user, ['READ'])
    expect(key.secret).toMatch(/^mk_[0-9a-f]{12}_[\w-]{43}$/)
    expect(key.secret.split('_')[1]).toBe(key.prefix)
    const row = await prisma.apiKey.findUniqueOrThrow({ where: { id: rowId(key.id) } })
    const everything = JSON.stringify([row, await prisma.auditEvent.findMany()])
    expect(everything).not.toContain(key.secret.slice('mk_000000000000_'.length))

    const query = 'query ($id: ID!) { task(id: $id) { prompt } }'
    expect(await app.data(query, { id: ids.task }, { token: key.secret })).toEqual({ task: { prompt: 'A secret.' } })
    for (const over of ['websocket', 'event-stream'] as const) {
      const stream = 'subscription ($id: ID!) { taskStream(taskId: $id) { __typename } }'
      const items = app.subscribe(stream, { id: ids.task }, { token: key.secret, over })
      expect((await items.next()).value).toEqual({ data: { taskStream: { __typename: 'TaskSnapshot' } } })
      await items.return()
    }
  })

  test('asks for its maker, and sees neither their sessions nor their other workspaces', async () => {
    const user = await app.signUp()
    await secondWorkspace(user)
    const { secret } = await createKey(user, ['READ'])
    const document =
      '{ viewer { user { id role } sessions { id } memberships { workspace { name } } } workspace { personal } }'
    expect(await app.data(document, {}, { token: secret })).toEqual({
      viewer: { user: { id: user.id, role: 'USER' }, sessions: [], memberships: [{ workspace: { name: 'Personal' } }] },
      workspace: { personal: true },
    })
  })

  test('says when it was last used, written once a minute', async () => {
    const user = await app.signUp()
    const { id, secret } = await createKey(user, ['READ'])
    const lastUsed = async () => (await prisma.apiKey.findUniqueOrThrow({ where: { id: rowId(id) } })).lastUsedAt
    expect(await lastUsed()).toBeNull()
    await reasonOf(secret)
    const first = await lastUsed()
    expect(first).not.toBeNull()
    clockOffsetMs += 1_000
    await reasonOf(secret)
    expect(await lastUsed()).toEqual(first)
  })

  test.each([
    ['no scope', 'input.scopes', { scopes: [] }],
    ['a scope twice', 'input.scopes', { scopes: ['READ', 'READ'] }],
    ['an empty name', 'input.name', { name: ' ' }],
    ['a name of two lines', 'input.name', { name: 'a\nb' }],
    ['an end in the past', 'input.expiresAt', { expiresAt: '2020-01-01T00:00:00.000Z' }],
  ])('is refused with %s', async (_what, field, wrong) => {
    const user = await app.signUp()
    const input = { name: 'A program', scopes: ['READ'], ...wrong }
    const { errors } = await app.graphql(createKeyMutation, { input }, { token: user.token })
    expect(errors?.map(({ extensions }) => [extensions.code, extensions.details['field']])).toEqual([
      ['BAD_USER_INPUT', field],
    ])
  })
})

describe('a key is held to its workspace', () => {
  let user: TestUser
  let secret: string
  let other: { workspace: string; agent: string }
  let ids: Ids
  beforeAll(async () => {
    user = await app.signUp()
    ids = await fillWorkspace(app, user)
    other = await secondWorkspace(user)
    secret = (await createKey(user, allScopes)).secret
  })

  test.each([
    ['workspace', 'query ($id: ID!) { found: workspace(id: $id) { name } }', () => other.workspace],
    ['agent', 'query ($id: ID!) { found: agent(id: $id) { name } }', () => other.agent],
    ['node of a workspace', 'query ($id: ID!) { found: node(id: $id) { id } }', () => other.workspace],
    ['node of an agent', 'query ($id: ID!) { found: node(id: $id) { id } }', () => other.agent],
  ])('%s finds nothing outside', async (_name, document, id) => {
    expect(await app.data(document, { id: id() }, { token: secret })).toEqual({ found: null })
    expect(await app.data(document, { id: id() }, { token: user.token })).not.toEqual({ found: null })
  })

  test('nodes gives what is inside only', async () => {
    const document = 'query ($ids: [ID!]!) { nodes(ids: $ids) { __typename } }'
    const session = (await prisma.session.findFirstOrThrow({ where: { userId: rowId(user.id) } })).id
    const wanted = [ids.agent, other.agent, ids.workspace, other.workspace, encodeGlobalID('Session', session)]
    expect(await app.data(document, { ids: wanted }, { token: secret })).toEqual({
      nodes: [{ __typename: 'Agent' }, null, { __typename: 'Workspace' }, null, null],
    })
  })

  test.each([
    [
      'agents',
      'query ($id: ID!) { agents(workspaceId: $id) { edges { node { id } } } }',
      () => ({ id: other.workspace }),
    ],
    [
      'tasks',
      'query ($id: ID!) { tasks(workspaceId: $id) { edges { node { id } } } }',
      () => ({ id: other.workspace }),
    ],
    [
      'createAgent',
      'mutation ($id: ID!) { createAgent(input: { workspaceId: $id, name: "x", instructions: "x" }) { agent { id } } }',
      () => ({ id: other.workspace }),
    ],
    [
      'pauseAgent',
      'mutation ($id: ID!) { pauseAgent(input: { id: $id }) { agent { id } } }',
      () => ({ id: other.agent }),
    ],
    [
      'createTask',
      'mutation ($id: ID!) { createTask(input: { agentId: $id, prompt: "x" }) { task { id } } }',
      () => ({ id: other.agent }),
    ],
    [
      'complete',
      'mutation ($id: ID!) { complete(input: { workspaceId: $id, prompt: "x" }) { text } }',
      () => ({ id: other.workspace }),
    ],
  ])('%s is NOT_FOUND outside', async (_name, document, variables) => {
    expect(await codeOf(document, variables(), secret)).toBe('NOT_FOUND')
  })

  test('a feed of another workspace is NOT_FOUND', async () => {
    const feed = 'subscription ($id: ID!) { workspaceFeed(workspaceId: $id) { __typename } }'
    const items = app.subscribe(feed, { id: other.workspace }, { token: secret, over: 'event-stream' })
    expect((await items.next()).value).toMatchObject({ errors: [{ extensions: { code: 'NOT_FOUND' } }] })
  })

  test('an administrator’s key is no administrator', async () => {
    await prisma.user.update({ where: { id: rowId(user.id) }, data: { role: 'ADMIN' } })
    expect(await codeOf('{ testAdmin }', {}, secret)).toBe('FORBIDDEN')
  })
})

describe('a key is held to its scopes', () => {
  let user: TestUser
  let ids: Ids
  const keys = new Map<Scope, string>()
  beforeAll(async () => {
    user = await app.signUp()
    ids = await fillWorkspace(app, user)
    for (const scope of allScopes) keys.set(scope, (await createKey(user, [scope])).secret)
  })

  const cases: [string, Scope, string, () => Record<string, unknown>][] = [
    ['task', 'READ', 'query ($id: ID!) { task(id: $id) { prompt } }', () => ({ id: ids.task })],
    ['node', 'READ', 'query ($id: ID!) { node(id: $id) { id } }', () => ({ id: ids.task })],
    ['nodes', 'READ', 'query ($id: ID!) { nodes(ids: [$id]) { id } }', () => ({ id: ids.task })],
    ['memberships', 'READ', '{ viewer { memberships { role } } }', () => ({})],
    [
      'createTask',
      'TASKS',
      'mutation ($id: ID!) { createTask(input: { agentId: $id, prompt: "x", runAt: "2100-01-01T00:00:00.000Z" }) { task { prompt } } }',
      () => ({ id: ids.agent }),
    ],
    [
      'cancelTask',
      'TASKS',
      'mutation ($id: ID!) { cancelTask(input: { id: $id }) { task { status } } }',
      () => ({ id: ids.task }),
    ],
    [
      'createAgent',
      'AGENTS',
      'mutation { createAgent(input: { name: "x", instructions: "x" }) { agent { name } } }',
      () => ({}),
    ],
    [
      'pauseAgent',
      'AGENTS',
      'mutation ($id: ID!) { pauseAgent(input: { id: $id }) { agent { status } } }',
      () => ({ id: ids.agent }),
    ],
    ['complete', 'COMPLETIONS', 'mutation { complete(input: { prompt: "x" }) { text } }', () => ({})],
  ]
  test.each(cases)('%s needs %s', async (_name, needed, document, variables) => {
    for (const scope of allScopes) {
      const code = await codeOf(document, variables(), keys.get(scope) ?? '')
      expect([scope, code]).toEqual([scope, scope === needed ? null : 'FORBIDDEN'])
    }
  })

  test.each(['workspaceFeed', 'completion'])('the subscription %s needs its scope', async (name) => {
    const [needed, document] =
      name === 'completion'
        ? (['COMPLETIONS', 'subscription { completion(input: { prompt: "x" }) { __typename } }'] as const)
        : (['READ', 'subscription { workspaceFeed { __typename } }'] as const)
    for (const scope of allScopes) {
      for (const over of ['websocket', 'event-stream'] as const) {
        const items = app.subscribe(document, {}, { token: keys.get(scope) ?? '', over })
        // A refused subscription is a result over one transport, and an error of the client over the other.
        const first = await items.next().then(
          ({ value }) => JSON.stringify(value),
          (error: unknown) => JSON.stringify(error),
        )
        expect([scope, over, first.includes('FORBIDDEN')]).toEqual([scope, over, scope !== needed])
        await items.return()
      }
    }
  })

  test.each([
    ['the agent of a task', 'createTask', '{ task { agent { instructions } } }'],
    ['the workspace of a task', 'createTask', '{ task { workspace { tasks { edges { node { prompt } } } } } }'],
  ])('without READ an answer does not lead on to %s', async (_what, _mutation, selection) => {
    const input = 'input: { agentId: $id, prompt: "x", runAt: "2100-01-01T00:00:00.000Z" }'
    const document = `mutation ($id: ID!) { createTask(${input}) ${selection} }`
    expect(await codeOf(document, { id: ids.agent }, keys.get('TASKS') ?? '')).toBe('FORBIDDEN')
  })

  test.each([
    'logOut { ok }',
    'revokeOtherSessions { revoked }',
    'revokeSession(input: { id: $id }) { session { id } }',
    'changePassword(input: { currentPassword: "x", newPassword: "y" }) { user { id } }',
    'createApiKey(input: { name: "x", scopes: [READ] }) { secret }',
    'rotateApiKey(input: { id: $key }) { secret }',
    'revokeApiKey(input: { id: $key }) { apiKey { id } }',
    'createWorkspace(input: { name: "x" }) { workspace { id } }',
    'updateWorkspace(input: { id: $workspace, name: "x" }) { workspace { id } }',
  ])('no key may %s', async (selection) => {
    const { secret, id: key } = await createKey(user, allScopes)
    const session = await prisma.session.findFirstOrThrow({ where: { userId: rowId(user.id) } })
    const variables = { id: encodeGlobalID('Session', session.id), key, workspace: ids.workspace }
    const used = Object.keys(variables).filter(
      (name) => selection.includes(`$${name} `) || selection.includes(`$${name},`),
    )
    const declared = used.length > 0 ? `(${used.map((name) => `$${name}: ID!`).join(', ')})` : ''
    const { errors } = await app.graphql(`mutation ${declared} { ${selection} }`, variables, { token: secret })
    expect(errors?.map(({ extensions, message }) => [extensions.code, message])).toEqual([
      ['FORBIDDEN', 'An API key cannot do this.'],
    ])
  })

  test('a key sees itself, and no other key', async () => {
    const { secret, id } = await createKey(user, ['READ'])
    const seen = await app.data('{ workspace { apiKeys { id } } }', {}, { token: secret })
    expect(seen).toEqual({ workspace: { apiKeys: [{ id }] } })
  })

  test('is never more than its maker is now', async () => {
    const maker = await app.signUp()
    const where = { workspaceId: rowId(ids.workspace), userId: rowId(maker.id) }
    const member = await prisma.workspaceMember.create({ data: { id: newId(), ...where, role: 'MEMBER' } })
    const { secret } = await createKey(maker, ['AGENTS'], { workspaceId: ids.workspace })
    const pause = 'mutation ($id: ID!) { resumeAgent(input: { id: $id }) { agent { status } } }'
    expect(await codeOf(pause, { id: ids.agent }, secret)).toBeNull()
    await prisma.workspaceMember.update({ where: { id: member.id }, data: { role: 'VIEWER' } })
    expect(await codeOf(pause, { id: ids.agent }, secret)).toBe('FORBIDDEN')
  })
})

describe('a key ends', () => {
  const rotate = 'mutation ($id: ID!) { rotateApiKey(input: { id: $id }) { secret apiKey { id } } }'
  const revoke = 'mutation ($id: ID!) { revokeApiKey(input: { id: $id }) { apiKey { id } } }'

  test.each([
    ['revoked', revoke],
    ['rotated', rotate],
  ])('when it is %s: at once, and its sockets are closed', async (_what, mutation) => {
    const user = await app.signUp()
    const { id, secret } = await createKey(user, ['READ'])
    await using socket = await connectSocket(app.url, { accessToken: secret })
    await app.data(mutation, { id }, { token: user.token })
    expect(await socket.closed).toEqual({ code: 4403, reason: 'Session ended' })
    expect(await reasonOf(secret)).toBe('INVALID_API_KEY')
    const actions = await prisma.auditEvent.findMany({ where: { target: rowId(id) }, orderBy: { id: 'asc' } })
    expect(actions.map(({ action }) => action)).toEqual([
      'api_key.created',
      mutation === revoke ? 'api_key.revoked' : 'api_key.rotated',
    ])
  })

  test('rotated, it goes on with its new secret', async () => {
    const user = await app.signUp()
    const { id } = await createKey(user, ['READ'])
    const { rotateApiKey } = await app.data<{ rotateApiKey: { secret: string } }>(rotate, { id }, { token: user.token })
    expect(await reasonOf(rotateApiKey.secret)).toBeNull()
    await app.data(revoke, { id }, { token: user.token })
    await app.data(revoke, { id }, { token: user.token })
    expect(await codeOf(rotate, { id }, user.token)).toBe('CONFLICT')
    expect(await app.data('{ workspace { apiKeys { id } } }', {}, { token: user.token })).toEqual({
      workspace: { apiKeys: [] },
    })
  })

  test('when its time is over, with its sockets', async () => {
    const user = await app.signUp()
    const expiresAt = new Date(clock.now().getTime() + 8_000).toISOString()
    const { secret } = await createKey(user, ['READ'], { expiresAt })
    await using socket = await connectSocket(app.url, { accessToken: secret })
    expect(await socket.closed).toEqual({ code: 4403, reason: 'Token expired' })
    await until(
      'it has expired',
      () => reasonOf(secret),
      (reason) => reason === 'API_KEY_EXPIRED',
    )
  })

  test.each([
    ['nonsense', 'mk_'],
    ['a prefix that nothing has', `mk_0123456789ab_${'A'.repeat(43)}`],
    ['half a key', 'mk_0123456789ab'],
  ])('%s is refused', async (_what, token) => {
    expect(await reasonOf(token)).toBe('INVALID_API_KEY')
    await using socket = await openSocket(app.url)
    socket.send({ type: 'connection_init', payload: { accessToken: token } })
    expect(await socket.closed).toMatchObject({ code: 4403 })
  })

  test('the right prefix with another secret is refused', async () => {
    const { secret } = await createKey(await app.signUp(), ['READ'])
    expect(await reasonOf(secret)).toBeNull()
    expect(await reasonOf(`${secret.slice(0, -4)}AAAA`)).toBe('INVALID_API_KEY')
  })
})
