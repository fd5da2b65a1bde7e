import { createLocalJWKSet, jwtVerify, type JSONWebKeySet } from 'jose'
import { afterAll, describe, expect, test } from 'vitest'
import { startTestApp } from '../../support/test-app.ts'
import { goodPassword, newAccount } from './account-fixtures.ts'

const app = await startTestApp()
const admin = await app.signUp()
afterAll(() => app[Symbol.asyncDispose]())

type Tokens = { accessToken: string; refreshToken: string; user: { id: string; email: string; role: string } }
const tokenFields = 'accessToken refreshToken accessTokenExpiresAt user { id email role disabled createdAt }'
const signUp = `mutation ($input: SignUpInput!) { signUp(input: $input) { ${tokenFields} } }`
const logIn = `mutation ($input: LogInInput!) { logIn(input: $input) { ${tokenFields} } }`
const refresh = `mutation ($token: String) { refreshSession(input: { refreshToken: $token }) { ${tokenFields} } }`
const me = `{ viewer {
  user { id email } memberships { role user { id } workspace { name personal } } sessions { id current ip userAgent }
} }`
const node = `query ($id: ID!) { node(id: $id) { __typename id ... on User { email } } }`

describe('signUp and logIn', () => {
  test('give tokens that open the API', async () => {
    const input = newAccount()
    const signedUp = await app.data<{ signUp: Tokens }>(signUp, { input })
    expect(signedUp.signUp.user).toMatchObject({ email: input.email, role: 'USER', disabled: false })
    const { logIn: tokens } = await app.data<{ logIn: Tokens }>(logIn, { input })
    const { viewer } = await app.data<{ viewer: unknown }>(me, {}, { token: tokens.accessToken })
    const { id, email } = tokens.user
    expect(viewer).toEqual({
      user: { id, email },
      memberships: [{ role: 'OWNER', user: { id }, workspace: { name: 'Personal', personal: true } }],
      sessions: [
        { id: expect.any(String), current: true, ip: '127.0.0.1', userAgent: 'node' },
        { id: expect.any(String), current: false, ip: '127.0.0.1', userAgent: 'node' },
      ],
    })
  })

  test('answer an unknown e-mail and a wrong password alike', async () => {
    const inputs = [
      { email: admin.email, password: 'not the password' },
      { email: 'nobody@example.com', password: goodPassword },
    ]
    const answers = await Promise.all(inputs.map((input) => app.graphql(logIn, { input })))
    for (const { data, errors } of answers) {
      expect(data).toBeNull()
      expect(errors).toEqual([
        expect.objectContaining({
          message: 'The e-mail or the password is wrong.',
          extensions: expect.objectContaining({
            code: 'UNAUTHENTICATED',
            details: { reason: 'WRONG_CREDENTIALS' },
          }),
        }),
      ])
    }
  })

  test.each([
    ['BAD_USER_INPUT', 'input.email', { email: 'nobody', password: goodPassword }],
    ['BAD_USER_INPUT', 'input.password', { email: 'new@example.com', password: 'short' }],
    ['BAD_USER_INPUT', 'input.email', { email: 'new\u0000@example.com', password: goodPassword }],
    ['CONFLICT', 'input.email', { email: admin.email, password: goodPassword }],
  ])('refuse with %s for %s', async (code, field, input) => {
    const { errors } = await app.graphql(signUp, { input })
    expect(errors?.map(({ extensions }) => [extensions.code, extensions.details['field']])).toEqual([[code, field]])
  })
})

describe('the viewer', () => {
  test('is null without a token', async () => {
    expect(await app.data(me)).toEqual({ viewer: null })
  })

  test.each([
    ['INVALID_TOKEN', () => 'not.a.token'],
    ['INVALID_TOKEN', () => `${admin.token.slice(0, -6)}AAAAAA`],
    ['SESSION_ENDED', loggedOutToken],
  ])('is refused with %s', async (reason, token) => {
    const { errors } = await app.graphql(me, {}, { token: await token() })
    expect(errors?.map(({ extensions }) => [extensions.code, extensions.details])).toEqual([
      ['UNAUTHENTICATED', { reason }],
    ])
  })

  async function loggedOutToken(): Promise<string> {
    const { token } = await app.signUp()
    expect(await app.data('mutation { logOut { ok } }', {}, { token })).toEqual({ logOut: { ok: true } })
    return token
  }
})

describe('refreshSession', () => {
  test('gives the next tokens, and ends the session when an old one comes back', async () => {
    const { refreshToken, id } = await app.signUp()
    const first = await app.data<{ refreshSession: Tokens }>(refresh, { token: refreshToken })
    expect(first.refreshSession.user.id).toBe(id)
    await app.data(refresh, { token: first.refreshSession.refreshToken })
    const { errors } = await app.graphql(refresh, { token: refreshToken })
    expect(errors?.map(({ extensions }) => extensions.details)).toEqual([{ reason: 'REFRESH_REUSED' }])
    const after = await app.graphql(me, {}, { token: first.refreshSession.accessToken })
    expect(after.errors?.map(({ extensions }) => extensions.details)).toEqual([{ reason: 'SESSION_ENDED' }])
  })

  test.each([
    ['no token', refresh, { token: null }],
    ['no input', 'mutation { refreshSession { accessToken } }', {}],
  ])('asks for a token when there is %s', async (_what, document, variables) => {
    const { errors } = await app.graphql(document, variables)
    expect(errors?.map(({ extensions }) => [extensions.code, extensions.details])).toEqual([
      ['BAD_USER_INPUT', { field: 'input.refreshToken' }],
    ])
  })
})

describe('users and sessions by id', () => {
  test('show the viewer and nobody they share no workspace with', async () => {
    const other = await app.signUp()
    const { token } = admin
    expect(await app.data(node, { id: admin.id }, { token })).toEqual({
      node: { __typename: 'User', id: admin.id, email: admin.email },
    })
    expect(await app.data(node, { id: other.id }, { token })).toEqual({ node: null })
  })

  test('show people of a shared workspace', async () => {
    const other = await app.signUp()
    const [adminId, otherId] = [admin.id, other.id].map(
      (id) => Buffer.from(id, 'base64').toString().split(':')[1] ?? '',
    )
    const { prisma } = app.services.db
    const workspace = await prisma.workspace.findUniqueOrThrow({ where: { personalOfId: adminId ?? '' } })
    const member = {
      id: crypto.randomUUID(),
      workspaceId: workspace.id,
      userId: otherId ?? '',
      role: 'VIEWER' as const,
    }
    await prisma.workspaceMember.create({ data: member })
    expect(await app.data(node, { id: other.id }, { token: admin.token })).toMatchObject({ node: { id: other.id } })
    expect(await app.data(node, { id: admin.id }, { token: other.token })).toMatchObject({ node: { id: admin.id } })
  })

  test('show a session to its own user only', async () => {
    const other = await app.signUp()
    const { viewer } = await app.data<{ viewer: { sessions: { id: string }[] } }>(me, {}, { token: other.token })
    const id = viewer.sessions[0]?.id
    expect(await app.data(node, { id }, { token: other.token })).toEqual({ node: { __typename: 'Session', id } })
    expect(await app.data(node, { id }, { token: admin.token })).toEqual({ node: null })
  })

  test('show nothing to nobody', async () => {
    const { errors } = await app.graphql(node, { id: admin.id })
    expect(errors?.map(({ extensions }) => extensions.code)).toEqual(['UNAUTHENTICATED'])
  })
})

test('anybody can verify a token with the published keys', async () => {
  const response = await app.request('/.well-known/jwks.json')
  const jwks: JSONWebKeySet = await response.json()
  const { payload } = await jwtVerify(admin.token, createLocalJWKSet(jwks), { typ: 'at+jwt', issuer: 'monk-ai' })
  expect(`User:${payload.sub}`).toBe(Buffer.from(admin.id, 'base64').toString())
  expect(Object.keys(jwks.keys[0] ?? {}).toSorted()).toEqual(['alg', 'crv', 'kid', 'kty', 'use', 'x'])
})

test('neither passwords nor tokens nor e-mails reach the log', async () => {
  await app.graphql(logIn, { input: { email: admin.email, password: 'not the password' } })
  const lines = JSON.stringify(app.logs.lines)
  for (const secret of [admin.password, admin.email, admin.token, admin.refreshToken, 'not the password']) {
    expect(lines).not.toContain(secret)
  }
})
