import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { findRedis, startRedisServer, type RedisTestServer } from '../support/redis-server.ts'
import { startTestApp, type TestApp } from '../support/test-app.ts'
import { post, type Outcome } from './attack.ts'

// Two servers over one Redis: whoever asks both gets no more than who asks one.

const program = findRedis()
const logInMutation = 'mutation ($input: LogInInput!) { logIn(input: $input) { accessToken } }'

describe.skipIf(program === null)('two servers', () => {
  let redis: RedisTestServer
  let one: TestApp
  let other: TestApp
  beforeAll(async () => {
    redis = await startRedisServer(program ?? '')
    const env = { REDIS_URL: redis.url, TRUSTED_PROXIES: 'loopback', LIMIT_ANONYMOUS_REQUESTS_PER_MINUTE: '40' }
    one = await startTestApp({ env })
    other = await startTestApp({ env })
  })
  afterAll(async () => {
    await one[Symbol.asyncDispose]()
    await other[Symbol.asyncDispose]()
    await redis[Symbol.asyncDispose]()
  })

  const logIn = (app: TestApp, email: string, ip: string): Promise<Outcome> =>
    post(
      app,
      { query: logInMutation, variables: { input: { email, password: 'a wrong guess' } } },
      { headers: { 'x-forwarded-for': ip } },
    )

  const codes = async (sends: (() => Promise<Outcome>)[]): Promise<(string | null)[]> => {
    const seen: (string | null)[] = []
    for (const send of sends) seen.push((await send()).code)
    return seen
  }

  test('count the guesses of a password together', async () => {
    const sends = Array.from(
      { length: 6 },
      (_, n) => () => logIn(n % 2 ? one : other, 'a@example.com', `198.51.100.${n}`),
    )
    expect(await codes(sends)).toEqual([...Array.from({ length: 5 }, () => 'UNAUTHENTICATED'), 'RATE_LIMITED'])
  })

  test('count the requests of an address together', async () => {
    const ask = (app: TestApp): Promise<Outcome> =>
      post(app, { query: '{ __typename }' }, { headers: { 'x-forwarded-for': '203.0.113.9' } })
    const outcomes = await Promise.all(Array.from({ length: 50 }, (_, n) => ask(n % 2 ? one : other)))
    expect(outcomes.filter(({ status }) => status === 200)).toHaveLength(40)
  })

  test('stay safe, and answer, while Redis is away', async () => {
    await redis.stop()
    const sinceMs = performance.now()
    const seen = await codes(Array.from({ length: 4 }, (_, n) => () => logIn(one, 'b@example.com', `198.51.100.${n}`)))
    // Each of the four within a second, on a machine that does nothing else.
    expect(performance.now() - sinceMs).toBeLessThan(10_000)
    expect(seen).toEqual(['UNAUTHENTICATED', 'UNAUTHENTICATED', 'RATE_LIMITED', 'RATE_LIMITED'])
    expect((await post(other, { query: '{ __typename }' })).status).toBe(200)
    await redis.start()
  })
})
