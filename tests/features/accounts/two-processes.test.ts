import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { keys as keysCommand } from '../../../src/cli/keys.ts'
import { createUsersCommand } from '../../../src/cli/users.ts'
import { defaultKeyTimings } from '../../../src/features/accounts/key-rotation.ts'
import type { AppOverrides } from '../../../src/app.ts'
import { findRedis, startRedisServer, type RedisTestServer } from '../../support/redis-server.ts'
import { connectSocket } from '../../support/raw-socket.ts'
import { startSecondApp, startTestApp, type SecondApp, type TestApp, type TestUser } from '../../support/test-app.ts'
import { until } from '../../support/until.ts'
import { rowId } from '../tasks/graphql-fixture.ts'

// Two of them share one PostgreSQL and one Redis; embedded there is only one.
const hasServers = inject('testServers') !== undefined
const redisProgram = hasServers ? findRedis() : null

const me = '{ viewer { user { id } } }'
const refreshMutation =
  'mutation ($token: String) { refreshSession(input: { refreshToken: $token }) { accessToken refreshToken } }'
const logInMutation = 'mutation ($input: LogInInput!) { logIn(input: $input) { accessToken } }'

async function reasonOf(app: Pick<TestApp, 'graphql'>, token: string): Promise<unknown> {
  const { errors } = await app.graphql(me, {}, { token })
  return errors?.[0]?.extensions.details['reason'] ?? null
}

describe.skipIf(!hasServers)('two processes', () => {
  let redis: RedisTestServer
  let first: TestApp
  let second: SecondApp
  beforeAll(async () => {
    if (redisProgram === null) throw new Error('the suite is skipped without Redis')
    redis = await startRedisServer(redisProgram)
    const overrides: Partial<AppOverrides> = {
      keyTimings: { ...defaultKeyTimings, reloadEveryMs: 200, publishForMs: 2_000 },
    }
    first = await startTestApp({ env: { REDIS_URL: redis.url }, overrides })
    second = await startSecondApp(first, overrides)
    await first.signUp()
  }, 60_000)
  afterAll(async () => {
    await second[Symbol.asyncDispose]()
    await first[Symbol.asyncDispose]()
    await redis[Symbol.asyncDispose]()
  })

  test.each([
    ['logOut', 'mutation { logOut { ok } }'],
    ['revokeOtherSessions', 'mutation { revokeOtherSessions { revoked } }'],
  ])('%s on one refuses tokens and closes sockets on the other', async (name, document) => {
    const user = await first.signUp()
    const { email, password } = user
    const { logIn } = await second.data<{ logIn: { accessToken: string } }>(logInMutation, {
      input: { email, password },
    })
    const ended = name === 'logOut' ? user.token : logIn.accessToken
    expect(await reasonOf(second, ended)).toBeNull()
    await using socket = await connectSocket(second.url, { accessToken: ended })
    await first.data(document, {}, { token: user.token })
    // Its own memory would have kept it for 30 s; the socket of the test gives up after ten.
    expect(await socket.closed).toEqual({ code: 4403, reason: 'Session ended' })
    expect(await reasonOf(second, ended)).toBe('SESSION_ENDED')
  })

  test('an API key that is revoked on one is refused on the other', async () => {
    const user = await first.signUp()
    const { createApiKey } = await first.data<{ createApiKey: { secret: string; apiKey: { id: string } } }>(
      'mutation { createApiKey(input: { name: "x", scopes: [READ] }) { secret apiKey { id } } }',
      {},
      { token: user.token },
    )
    expect(await reasonOf(second, createApiKey.secret)).toBeNull()
    await using socket = await connectSocket(second.url, { accessToken: createApiKey.secret })
    const revoke = 'mutation ($id: ID!) { revokeApiKey(input: { id: $id }) { apiKey { id } } }'
    await first.data(revoke, { id: createApiKey.apiKey.id }, { token: user.token })
    expect(await socket.closed).toMatchObject({ code: 4403 })
    expect(await reasonOf(second, createApiKey.secret)).toBe('INVALID_API_KEY')
  })

  test('a refresh token that is used twice ends the session on both', async () => {
    const user = await first.signUp()
    const refreshed = await second.data<{ refreshSession: { refreshToken: string } }>(refreshMutation, {
      token: user.refreshToken,
    })
    await first.data(refreshMutation, { token: refreshed.refreshSession.refreshToken })
    await using socket = await connectSocket(first.url, { accessToken: user.token })
    const { errors } = await second.graphql(refreshMutation, { token: user.refreshToken })
    expect(errors?.[0]?.extensions.details).toEqual({ reason: 'REFRESH_REUSED' })
    expect(await socket.closed).toMatchObject({ code: 4403 })
  })

  test('`monk users disable` is heard by both', async () => {
    const user = await first.signUp()
    await using here = await connectSocket(first.url, { accessToken: user.token })
    await using there = await connectSocket(second.url, { accessToken: user.token })
    const command = createUsersCommand(async () => '')
    await command({ args: ['disable', user.email], env: first.env, output: () => undefined })
    expect(await here.closed).toMatchObject({ code: 4403 })
    expect(await there.closed).toMatchObject({ code: 4403 })
  })

  test('keys that are rotated are those of both, and tokens of either hold on the other all the time', async () => {
    const users = [await first.signUp(), await first.signUp()]
    const current = async (): Promise<string[]> => {
      const rows = await first.services.db.prisma.keyRow.findMany({ where: { state: 'CURRENT' } })
      return rows.map(({ id }) => id)
    }
    const before = await current()
    const stopped = new AbortController()
    const failures: unknown[] = []
    async function person({ refreshToken, token }: TestUser): Promise<void> {
      let tokens = { accessToken: token, refreshToken }
      for (let round = 0; !stopped.signal.aborted; round += 1) {
        const [issuer, other] = round % 2 === 0 ? [first, second] : [second, first]
        const answer = await issuer.graphql<{ refreshSession: typeof tokens }>(refreshMutation, {
          token: tokens.refreshToken,
        })
        if (!answer.data) failures.push(answer.errors)
        tokens = answer.data?.refreshSession ?? tokens
        const reason = await reasonOf(other, tokens.accessToken)
        if (reason !== null) failures.push(reason)
      }
    }
    const people = Promise.all(users.map(person))
    await keysCommand({ args: ['rotate'], env: first.env, output: () => undefined })
    await until('every key was rotated', current, (now) => now.every((id) => !before.includes(id)), 60_000)
    stopped.abort()
    await people
    expect(failures).toEqual([])
  }, 120_000)

  test('without Redis people log in and out, safely and without a wait', async () => {
    const user = await first.signUp()
    const { email, password } = user
    await redis.stop()
    try {
      const { logIn } = await first.data<{ logIn: { accessToken: string } }>(logInMutation, {
        input: { email, password },
      })
      await first.data('mutation { logOut { ok } }', {}, { token: logIn.accessToken })
      // Here at once; on the other process it was not known yet, so it is read.
      expect(await reasonOf(first, logIn.accessToken)).toBe('SESSION_ENDED')
      expect(await reasonOf(second, logIn.accessToken)).toBe('SESSION_ENDED')
      const wrong = { email, password: 'not the password' }
      const codes: (string | undefined)[] = []
      for (let tries = 0; tries < 8; tries += 1) {
        const { errors } = await first.graphql(logInMutation, { input: wrong })
        codes.push(errors?.[0]?.extensions.code)
      }
      // Guessing is still slowed down, by each process for itself.
      expect(codes.at(-1)).toBe('RATE_LIMITED')
    } finally {
      await redis.start()
    }
    expect(await first.services.db.prisma.session.count({ where: { userId: rowId(user.id), revokedAt: null } })).toBe(1)
  }, 60_000)
})
