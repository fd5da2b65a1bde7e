import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { connectSocket } from '../../support/raw-socket.ts'
import { startTestApp, type TestUser } from '../../support/test-app.ts'
import { rowId } from '../tasks/graphql-fixture.ts'

const app = await startTestApp()
const { prisma } = app.services.db
afterAll(() => app[Symbol.asyncDispose]())

let admin: TestUser
beforeAll(async () => {
  admin = await app.signUp()
})

const setDisabled =
  'mutation ($id: ID!, $disabled: Boolean!) { setUserDisabled(input: { id: $id, disabled: $disabled }) { user { id disabled } } }'
const users =
  'query ($first: Int, $after: String) { users(first: $first, after: $after) { edges { cursor node { id email } } pageInfo { hasNextPage } } }'
const auditLog = `query ($first: Int, $after: String) {
  auditLog(first: $first, after: $after) {
    edges { cursor node { id at action target ip requestId details actor { id } } } pageInfo { hasNextPage endCursor }
  }
}`
const logIn = 'mutation ($input: LogInInput!) { logIn(input: $input) { accessToken } }'
const me = '{ viewer { user { id } } }'

async function errorOf(document: string, variables: Record<string, unknown>, token: string): Promise<unknown> {
  const { errors } = await app.graphql(document, variables, { token })
  return errors?.[0] && [errors[0].extensions.code, errors[0].extensions.details['reason'] ?? null]
}

type AuditPage = {
  auditLog: {
    edges: { cursor: string; node: { id: string; action: string; target: string; actor: { id: string } | null } }[]
    pageInfo: { hasNextPage: boolean; endCursor: string | null }
  }
}

describe('a disabled account', () => {
  test('is shut out at once, sessions, sockets and API keys alike, and let in again without its old sessions', async () => {
    const user = await app.signUp()
    const { createApiKey } = await app.data<{ createApiKey: { secret: string } }>(
      'mutation { createApiKey(input: { name: "x", scopes: [READ] }) { secret } }',
      {},
      user,
    )
    await using withToken = await connectSocket(app.url, { accessToken: user.token })
    await using withKey = await connectSocket(app.url, { accessToken: createApiKey.secret })
    const input = { email: user.email, password: user.password }

    expect(await app.data(setDisabled, { id: user.id, disabled: true }, admin)).toEqual({
      setUserDisabled: { user: { id: user.id, disabled: true } },
    })
    expect(await withToken.closed).toEqual({ code: 4403, reason: 'Session ended' })
    expect(await withKey.closed).toEqual({ code: 4403, reason: 'Session ended' })
    expect(await errorOf(me, {}, user.token)).toEqual(['UNAUTHENTICATED', 'SESSION_ENDED'])
    expect(await errorOf(me, {}, createApiKey.secret)).toEqual(['UNAUTHENTICATED', 'ACCOUNT_DISABLED'])
    const { errors } = await app.graphql(logIn, { input })
    expect(errors?.[0]?.extensions.details).toMatchObject({ reason: 'ACCOUNT_DISABLED' })

    await app.data(setDisabled, { id: user.id, disabled: false }, admin)
    expect(await errorOf(me, {}, user.token)).toEqual(['UNAUTHENTICATED', 'SESSION_ENDED'])
    expect(await errorOf(me, {}, createApiKey.secret)).toBeUndefined()
    await app.data(logIn, { input })
    const actions = await prisma.auditEvent.findMany({
      where: { target: rowId(user.id), actorId: rowId(admin.id) },
      orderBy: { id: 'asc' },
    })
    expect(actions.map(({ action }) => action)).toEqual(['user.disabled', 'user.enabled'])
  })

  test('is never the own one', async () => {
    for (const disabled of [true, false])
      expect(await errorOf(setDisabled, { id: admin.id, disabled }, admin.token)).toEqual(['FORBIDDEN', null])
  })

  test('of two administrators who disable each other at once one stays', async () => {
    const other = await app.signUp()
    await app.services.userAdministration.promote(null, rowId(other.id), { ip: null, requestId: null })
    const ids = [admin, other].map(({ id }) => rowId(id))
    const [first = '', second = ''] = ids
    const origin = { ip: null, requestId: null }
    const { setDisabled: disable } = app.services.userAdministration
    await Promise.allSettled([
      disable({ userId: first }, { id: second, disabled: true }, origin),
      disable({ userId: second }, { id: first, disabled: true }, origin),
    ])
    expect(await prisma.user.count({ where: { role: 'ADMIN', disabled: false } })).toBe(1)
    await prisma.user.updateMany({ where: { id: { in: ids } }, data: { disabled: false } })
    await prisma.user.update({ where: { id: rowId(other.id) }, data: { role: 'USER' } })
    const { logIn: again } = await app.data<{ logIn: { accessToken: string } }>(logIn, {
      input: { email: admin.email, password: admin.password },
    })
    admin = { ...admin, token: again.accessToken }
  })
})

describe('administrators only', () => {
  test.each([
    ['users', users, {}],
    ['auditLog', auditLog, {}],
    ['setUserDisabled', setDisabled, { disabled: true }],
  ])('%s', async (_name, document, more) => {
    const [user, victim] = [await app.signUp(), await app.signUp()]
    const variables = { id: victim.id, ...more }
    const declared = document === setDisabled ? variables : {}
    expect(await errorOf(document, declared, user.token)).toEqual(['FORBIDDEN', null])
    const { errors } = await app.graphql(document, declared)
    expect(errors?.map(({ extensions }) => extensions.code)).toEqual(['UNAUTHENTICATED'])
    expect(await errorOf(me, {}, victim.token)).toBeUndefined()
  })

  test('a new administrator is one at once', async () => {
    const user = await app.signUp()
    expect(await errorOf(users, {}, user.token)).toEqual(['FORBIDDEN', null])
    await using socket = await connectSocket(app.url, { accessToken: user.token })
    await app.services.userAdministration.promote(null, rowId(user.id), { ip: null, requestId: null })
    expect(await errorOf(users, {}, user.token)).toBeUndefined()
    // It comes back as who it is now.
    expect(await socket.closed).toMatchObject({ code: 4403 })
  })
})

describe('lists', () => {
  test('of users, page by page, the newest first', async () => {
    const newest = [await app.signUp(), await app.signUp(), await app.signUp()].toReversed()
    type UserPage = { users: { edges: { cursor: string; node: { id: string } }[]; pageInfo: { hasNextPage: boolean } } }
    const first = await app.data<UserPage>(users, { first: 2 }, admin)
    const second = await app.data<UserPage>(users, { first: 1, after: first.users.edges.at(-1)?.cursor }, admin)
    expect([...first.users.edges, ...second.users.edges].map(({ node }) => node.id)).toEqual(newest.map(({ id }) => id))
    expect(first.users.pageInfo.hasNextPage).toBe(true)
  })

  test('of audit events, page by page, each once', async () => {
    const total = await prisma.auditEvent.count()
    const seen: string[] = []
    let after: string | null = null
    do {
      const page: AuditPage = await app.data<AuditPage>(auditLog, { first: 7, after }, admin)
      seen.push(...page.auditLog.edges.map(({ node }) => node.id))
      after = page.auditLog.pageInfo.hasNextPage ? page.auditLog.pageInfo.endCursor : null
    } while (after !== null)
    expect(new Set(seen).size).toBe(seen.length)
    expect(seen).toHaveLength(total)
    const { auditLog: newest } = await app.data<AuditPage>(auditLog, { first: 1 }, admin)
    const row = await prisma.auditEvent.findFirstOrThrow({
      orderBy: [{ at: 'desc' }, { id: 'desc' }],
      include: { actor: true },
    })
    expect(newest.edges[0]?.node).toMatchObject({ id: row.id, action: row.action, target: row.target })
  })

  test.each(['nonsense', Buffer.from('1:not-an-id').toString('base64url')])('refuse the cursor %s', async (after) => {
    for (const document of [users, auditLog])
      expect(await errorOf(document, { first: 1, after }, admin.token)).toEqual(['BAD_USER_INPUT', null])
  })
})
