import { afterAll, describe, expect, test } from 'vitest'
import { probe } from '../../support/graphql-test-fields.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { connectSocket } from '../../support/raw-socket.ts'
import { startTestApp, type TestUser } from '../../support/test-app.ts'
import { goodPassword } from './account-fixtures.ts'

const newPassword = 'quiet-harbour-lantern-77'
let clockOffsetMs = 0
const clock = { ...systemClock, now: () => new Date(Date.now() + clockOffsetMs) }
const app = await startTestApp({ overrides: { clock } })
await app.signUp()
afterAll(() => app[Symbol.asyncDispose]())

type SessionJson = { id: string; current: boolean }
const logInMutation = 'mutation ($input: LogInInput!) { logIn(input: $input) { accessToken refreshToken } }'
const refreshMutation = 'mutation ($token: String) { refreshSession(input: { refreshToken: $token }) { accessToken } }'
const revokeMutation = 'mutation ($id: ID!) { revokeSession(input: { id: $id }) { session { id current } } }'
const changeMutation = `mutation ($input: ChangePasswordInput!) { changePassword(input: $input) { user { id } } }`
const silence = { type: 'subscribe', id: '1', payload: { query: 'subscription { testSilence }' } }

async function logIn({ email, password }: TestUser): Promise<{ accessToken: string; refreshToken: string }> {
  const { logIn: tokens } = await app.data<{ logIn: { accessToken: string; refreshToken: string } }>(logInMutation, {
    input: { email, password },
  })
  return tokens
}

async function sessionsOf(token: string): Promise<SessionJson[]> {
  const { viewer } = await app.data<{ viewer: { sessions: SessionJson[] } }>(
    '{ viewer { sessions { id current } } }',
    {},
    { token },
  )
  return viewer.sessions
}

/** What a request with this token is answered: null when it is let in. */
async function refusal(token: string): Promise<unknown> {
  const { errors } = await app.graphql('{ viewer { user { id } } }', {}, { token })
  return errors?.[0]?.extensions.details['reason'] ?? null
}

async function auditOf({ id }: TestUser): Promise<string[]> {
  const userId = Buffer.from(id, 'base64').toString().split(':')[1] ?? ''
  const rows = await app.services.db.prisma.auditEvent.findMany({ where: { target: userId }, orderBy: { id: 'asc' } })
  return rows.map(({ action }) => action)
}

describe('sessions', () => {
  test('are listed, the one that asks marked, and end one by one', async () => {
    const user = await app.signUp()
    const other = await logIn(user)
    const [newest, oldest] = await sessionsOf(user.token)
    expect([newest?.current, oldest?.current]).toEqual([false, true])

    const revoked = await app.data(revokeMutation, { id: newest?.id }, { token: user.token })
    expect(revoked).toEqual({ revokeSession: { session: { id: newest?.id, current: false } } })
    expect(await refusal(other.accessToken)).toBe('SESSION_ENDED')
    expect(await sessionsOf(user.token)).toEqual([oldest])
    const again = await app.graphql(revokeMutation, { id: newest?.id }, { token: user.token })
    expect(again.errors).toBeUndefined()
    expect(await auditOf(user)).toEqual(['user.signed_up', 'user.logged_in', 'session.revoked'])
  })

  test('of somebody else look like missing ones', async () => {
    const [user, stranger] = [await app.signUp(), await app.signUp()]
    const [session] = await sessionsOf(user.token)
    const { errors } = await app.graphql(revokeMutation, { id: session?.id }, { token: stranger.token })
    expect(errors?.map(({ extensions }) => extensions.code)).toEqual(['NOT_FOUND'])
    expect(await refusal(user.token)).toBeNull()
  })

  test('all but the one that asks end together', async () => {
    const user = await app.signUp()
    const others = [await logIn(user), await logIn(user)]
    const answer = await app.data('mutation { revokeOtherSessions { revoked } }', {}, { token: user.token })
    expect(answer).toEqual({ revokeOtherSessions: { revoked: 2 } })
    for (const { accessToken } of others) expect(await refusal(accessToken)).toBe('SESSION_ENDED')
    expect(await refusal(user.token)).toBeNull()
  })
})

describe('changing the password', () => {
  test('ends all other sessions, and only the new password logs in', async () => {
    const user = await app.signUp()
    const other = await logIn(user)
    const input = { currentPassword: user.password, newPassword }
    await app.data(changeMutation, { input }, { token: user.token })
    expect(await refusal(user.token)).toBeNull()
    expect(await refusal(other.accessToken)).toBe('SESSION_ENDED')
    const withOld = await app.graphql(logInMutation, { input: { email: user.email, password: user.password } })
    expect(withOld.errors?.[0]?.extensions.details).toEqual({ reason: 'WRONG_CREDENTIALS' })
    await logIn({ ...user, password: newPassword })
  })

  test.each([
    ['the current password', 'input.currentPassword', { currentPassword: 'not the password', newPassword }],
    ['a weak new one', 'input.newPassword', { currentPassword: goodPassword, newPassword: 'password1234' }],
    ['a short new one', 'input.newPassword', { currentPassword: goodPassword, newPassword: 'short' }],
  ])('refuses %s', async (_what, field, input) => {
    const user = await app.signUp()
    const { errors } = await app.graphql(changeMutation, { input }, { token: user.token })
    expect(errors?.map(({ extensions }) => [extensions.code, extensions.details['field']])).toEqual([
      ['BAD_USER_INPUT', field],
    ])
    await logIn(user)
  })

  test('works for one of two who do it at once', async () => {
    const user = await app.signUp()
    const change = (to: string) =>
      app.graphql(changeMutation, { input: { currentPassword: user.password, newPassword: to } }, { token: user.token })
    const answers = await Promise.all([change(newPassword), change(`${newPassword} again`)])
    const failed = answers.flatMap(({ errors }) => errors?.map(({ extensions }) => extensions.code) ?? [])
    expect(failed).toHaveLength(1)
    expect(['CONFLICT', 'BAD_USER_INPUT']).toContain(failed[0])
  })
})

describe('a session that ends takes its connections along', () => {
  test.each([
    ['logOut', (token: string) => app.data('mutation { logOut { ok } }', {}, { token })],
    ['the same refresh token twice', reuse],
  ])('%s closes its sockets with 4403', async (_name, end) => {
    const user = await app.signUp()
    await using socket = await connectSocket(app.url, { accessToken: user.token })
    socket.send(silence)
    expect(await socket.receive()).toMatchObject({ type: 'next' })
    await end(user.token, user.refreshToken)
    expect(await socket.closed).toEqual({ code: 4403, reason: 'Session ended' })
  })

  async function reuse(_token: string, refreshToken: string): Promise<void> {
    const first = await app.data<{ refreshSession: { accessToken: string } }>(
      'mutation ($token: String) { refreshSession(input: { refreshToken: $token }) { accessToken refreshToken } }',
      { token: refreshToken },
    )
    expect(first.refreshSession.accessToken).toBeTypeOf('string')
    clockOffsetMs += 11_000
    await app.graphql(refreshMutation, { token: refreshToken })
  }

  test('another session keeps its sockets', async () => {
    const user = await app.signUp()
    const other = await logIn(user)
    await using own = await connectSocket(app.url, { accessToken: user.token })
    await using gone = await connectSocket(app.url, { accessToken: other.accessToken })
    await app.data('mutation { revokeOtherSessions { revoked } }', {}, { token: user.token })
    expect(await gone.closed).toMatchObject({ code: 4403 })
    own.send({ type: 'ping' })
    expect(await own.receive()).toEqual({ type: 'pong' })
  })

  test('its event streams are cut off', async () => {
    const user = await app.signUp()
    const ended = probe.next('ended', 15_000)
    const results = app.subscribe('subscription { testSilence }', {}, { token: user.token, over: 'event-stream' })
    expect((await results.next()).value).toEqual({ data: { testSilence: 0 } })
    const rest = results.next()
    await Promise.all([
      expect(rest).rejects.toThrow(),
      app.data('mutation { logOut { ok } }', {}, { token: user.token }),
    ])
    expect(await ended).toEqual(['silence'])
  })
})

describe('with an access token that has expired', () => {
  const expired = async (): Promise<TestUser> => {
    const user = await app.signUp()
    clockOffsetMs += 11 * 60_000
    return user
  }

  test('refreshSession and logIn work', async () => {
    const user = await expired()
    expect(await refusal(user.token)).toBe('EXPIRED')
    const refreshed = await app.graphql(refreshMutation, { token: user.refreshToken }, { token: user.token })
    expect(refreshed.errors).toBeUndefined()
    const { email, password } = user
    const loggedIn = await app.graphql(logInMutation, { input: { email, password } }, { token: 'not.a.token' })
    expect(loggedIn.errors).toBeUndefined()
  })

  test.each([
    ['a query', 'query { viewer { user { id } } }'],
    ['logOut', 'mutation { logOut { ok } }'],
    [
      'logIn together with something else',
      'mutation { logIn(input: { email: "a@b.cd", password: "x" }) { user { id } } testCount }',
    ],
    ['a document that is none', '{'],
    ['a hidden mutation', 'mutation { ...Rest } fragment Rest on Mutation { testCount }'],
  ])('%s is refused, and does nothing', async (_name, document) => {
    const user = await expired()
    const before = probe.count
    const response = await app.request('/graphql', {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${user.token}` },
      body: JSON.stringify({ query: document }),
    })
    expect(response.status).toBe(401)
    expect(await response.json()).toMatchObject({ errors: [{ extensions: { details: { reason: 'EXPIRED' } } }] })
    expect(probe.count).toBe(before)
  })
})
