import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../../src/lib/clock.ts'
import { createRedisThrottles } from '../../../src/platform/throttle/redis.ts'
import { throttlesContract } from '../../contracts/throttles.ts'
import { captureLogs } from '../../support/log-capture.ts'
import { findRedis, startRedisServer, type RedisTestServer } from '../../support/redis-server.ts'
import { openTestRedis, until } from '../redis/redis-harness.ts'

const program = findRedis()
const shared = { name: 'a', points: 10, windowSeconds: 60, pointsWithoutRedis: 2 }
const attempts = {
  name: 'b',
  maxFailures: 5,
  windowSeconds: 60,
  firstLockSeconds: 30,
  maxLockSeconds: 100,
  maxFailuresWithoutRedis: 2,
}

describe.skipIf(program === null)('limits in Redis', () => {
  let server: RedisTestServer
  beforeAll(async () => {
    server = await startRedisServer(program ?? '')
  })
  afterAll(() => server[Symbol.asyncDispose]())

  async function startLimits(url = server.url) {
    const logs = captureLogs()
    const redis = await openTestRedis(url, logs)
    const deps = { redis, clock: systemClock, logger: logs.logger }
    const [one, other] = [await createRedisThrottles(deps), await createRedisThrottles(deps)]
    return {
      one,
      other,
      logs,
      async [Symbol.asyncDispose]() {
        await Promise.all([one.close(), other.close()])
      },
    }
  }

  throttlesContract(() => startLimits())

  test('keeps installations on one Redis apart', async () => {
    await using mine = await startLimits()
    await using theirs = await startLimits()
    const once = { ...shared, points: 1 }
    expect((await mine.one.window(once).take('x')).isAllowed).toBe(true)
    expect((await theirs.one.window(once).take('x')).isAllowed).toBe(true)
  })

  test.each(['stop', 'freeze'] as const)(
    'counts in the process, more strictly, after %s; and together again',
    async (how) => {
      await using own = await startRedisServer(program ?? '')
      await using limits = await startLimits(own.url)
      const window = limits.one.window(shared)
      const logIns = limits.one.attempts(attempts)
      await window.take('x')
      await logIns.begin('x')
      await (how === 'stop' ? own.stop() : own.freeze())

      const sinceMs = performance.now()
      const taken = [await window.take('x'), await window.take('x'), await window.take('x')]
      const begun = [await logIns.begin('x'), await logIns.begin('x'), await logIns.begin('x')]
      // The promise is a second for a request, which asks three times at most.
      expect(performance.now() - sinceMs).toBeLessThan(1_000)
      expect(taken.map(({ isAllowed }) => isAllowed)).toEqual([true, true, false])
      expect(begun.map(({ isAllowed }) => isAllowed)).toEqual([true, true, false])

      await (how === 'stop' ? own.start() : own.thaw())
      // Redis allows ten, this process two: the third shows who counts.
      await until('Redis counts again', async () => (await window.take(crypto.randomUUID(), 3)).isAllowed)
      limits.logs.assertNoErrors()
    },
  )

  test('an attempt that outlives Redis ends quietly', async () => {
    await using own = await startRedisServer(program ?? '')
    await using limits = await startLimits(own.url)
    const attempt = await limits.one.attempts(attempts).begin('x')
    if (!attempt.isAllowed) throw new Error('it was refused')
    await own.stop()
    await attempt.succeeded()
    await attempt.abandoned()
    limits.logs.assertNoErrors()
  })
})
