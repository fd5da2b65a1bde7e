import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../../src/lib/clock.ts'
import { createRedisRateLimits } from '../../../src/platform/rate-limit/redis.ts'
import { rateLimitsContract } from '../../contracts/rate-limit.ts'
import { captureLogs } from '../../support/log-capture.ts'
import { findRedis, startRedisServer, type RedisTestServer } from '../../support/redis-server.ts'
import { openTestRedis, until } from '../redis/redis-harness.ts'

const program = findRedis()

describe.skipIf(program === null)('Redis rate limits', () => {
  let server: RedisTestServer
  beforeAll(async () => {
    server = await startRedisServer(program ?? '')
  })
  afterAll(() => server[Symbol.asyncDispose]())

  async function startLimits({ url }: { url: string } = server) {
    const logs = captureLogs()
    const redis = await openTestRedis(url, logs)
    const create = () => createRedisRateLimits({ redis, clock: systemClock, logger: logs.logger })
    const [one, other] = [create(), create()]
    const probe = redis.connect('requests', 'probe')
    const keys = () => probe.run((client) => client.keys(`${redis.keyPrefix}:rate:*`)).catch(() => [])
    await until('Redis is connected', () => probe.isReady())
    return {
      one,
      other,
      logs,
      keys,
      async [Symbol.asyncDispose]() {
        await Promise.all([one.close(), other.close(), probe.close()])
      },
    }
  }

  rateLimitsContract(startLimits)

  test('keeps nothing of a bucket that is full again', async () => {
    await using limits = await startLimits()
    const bucket = { key: 'soon-full', requestsPerMinute: 60_000_000, tokensPerMinute: null }
    await limits.one.take([bucket], 0)

    expect(await limits.keys()).toHaveLength(1)
    await until('the bucket is forgotten', async () => (await limits.keys()).length === 0)
  })

  test('counts in this process while Redis is away, and together again when it is back', async () => {
    await using own = await startRedisServer(program ?? '')
    await using limits = await startLimits(own)
    const bucket = { key: 'outage', requestsPerMinute: 2, tokensPerMinute: null }
    await limits.one.take([bucket], 0)
    await own.stop()

    expect(await limits.one.take([bucket], 0)).toEqual({ ok: true })
    expect(await limits.one.take([bucket], 0)).toEqual({ ok: true })
    expect(await limits.one.take([bucket], 0)).toMatchObject({ ok: false })
    await own.start()
    await until('one hears what the other took', async () => {
      const both = await Promise.all([limits.one.take([bucket], 0), limits.other.take([bucket], 0)])
      return both.every(({ ok }) => !ok) && (await limits.keys()).length > 0
    })
  })

  test('does not wait for a Redis that hangs', async () => {
    await using own = await startRedisServer(program ?? '')
    await using limits = await startLimits(own)
    const bucket = { key: 'frozen', requestsPerMinute: 100, tokensPerMinute: null }
    await limits.one.take([bucket], 0)
    own.freeze()
    const startedMs = performance.now()
    const takes = []
    for (let n = 0; n < 50; n += 1) takes.push(await limits.one.take([bucket], 0))
    const tookMs = performance.now() - startedMs
    own.thaw()

    expect(takes.every(({ ok }) => ok)).toBe(true)
    // Fifty waits of two seconds would be 100 s.
    expect(tookMs).toBeLessThan(20_000)
  })
})
