import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../src/lib/clock.ts'
import { newId } from '../../src/lib/ids.ts'
import { createRedisCircuitBreakers } from '../../src/platform/circuit-breaker/redis.ts'
import { createRedisRateLimits } from '../../src/platform/rate-limit/redis.ts'
import { openTestRedis } from '../platform/redis/redis-harness.ts'
import { captureLogs } from '../support/log-capture.ts'
import { answer, httpError, startModelServer } from '../support/model-server.ts'
import { findRedis, startRedisServer, type RedisTestServer } from '../support/redis-server.ts'
import { callModel, createTestAi, outcomes } from './call-model.ts'

const program = findRedis()

describe.skipIf(program === null)('while Redis', () => {
  let redis: RedisTestServer
  beforeAll(async () => {
    redis = await startRedisServer(program ?? '')
  })
  afterAll(() => redis[Symbol.asyncDispose]())

  async function startShared(server: RedisTestServer) {
    const logs = captureLogs()
    const { logger } = logs
    const opened = await openTestRedis(server.url, logs)
    const breakers = createRedisCircuitBreakers({ redis: opened, clock: systemClock, newId, logger })
    const rateLimits = createRedisRateLimits({ redis: opened, clock: systemClock, logger })
    const limits = { 'a/m': { requestsPerMinute: 100_000, tokensPerMinute: 100_000_000 } }
    return {
      logs,
      options: { breakers, rateLimits, modelRateLimits: limits, logger },
      async [Symbol.asyncDispose]() {
        await Promise.all([breakers.close(), rateLimits.close()])
      },
    }
  }

  test.each([
    ['dies and comes back', (server: RedisTestServer) => server.stop(), (server: RedisTestServer) => server.start()],
    ['hangs', async (server: RedisTestServer) => server.freeze(), async (server: RedisTestServer) => server.thaw()],
    ['forgets everything', (server: RedisTestServer) => server.restart(), async () => undefined],
  ])('%s, every call has its answer', async (_what, harm, mend) => {
    await using server = await startModelServer()
    await using shared = await startShared(redis)
    const ai = createTestAi({ a: server }, { ...shared.options, timeouts: { totalMs: 60_000, firstTokenMs: 30_000 } })
    server.replyAlways(answer('good'))
    const call = async (): Promise<string | undefined> => (await callModel(ai)).answer?.text
    const before = await Promise.all([call(), call(), call()])
    const across = Array.from({ length: 10 }, call)
    await harm(redis)
    const during = [...(await Promise.all(across)), await call(), await call()]
    await mend(redis)
    const after = [await call(), await call()]
    await ai.close()

    expect([...before, ...during, ...after]).toEqual(Array.from({ length: 17 }, () => 'good'))
    shared.logs.assertNoErrors()
  })

  test('is there, a breaker that one process opens spares all others the wait', async () => {
    await using server = await startModelServer()
    await using second = await startModelServer()
    await using one = await startShared(redis)
    const first = createTestAi({ a: server, b: second }, one.options)
    server.replyAlways(httpError(503))
    second.replyAlways(answer('from b'))
    // The same breakers through a client of its own, as another process has it.
    const other = createTestAi({ a: server, b: second }, one.options)
    const deadline = performance.now() + 20_000
    while (performance.now() < deadline) {
      const before = server.requests.length
      expect((await callModel(first)).answer?.text).toBe('from b')
      if (server.requests.length === before) break
    }
    const asked = server.requests.length

    expect(outcomes(await callModel(other))).toEqual(['b/m succeeded'])
    expect(server.requests).toHaveLength(asked)
    await Promise.all([first.close(), other.close()])
  })
})
