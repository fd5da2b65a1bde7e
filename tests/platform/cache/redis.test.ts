import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../../src/lib/clock.ts'
import { cacheTimeoutMs, createRedisCache } from '../../../src/platform/cache/redis.ts'
import { cacheContract } from '../../contracts/cache.ts'
import { captureLogs } from '../../support/log-capture.ts'
import { findRedis, startRedisServer, type RedisTestServer } from '../../support/redis-server.ts'
import { openTestRedis, until } from '../redis/redis-harness.ts'

const program = findRedis()

describe.skipIf(program === null)('Redis cache', () => {
  let server: RedisTestServer
  beforeAll(async () => {
    server = await startRedisServer(program ?? '')
  })
  afterAll(() => server[Symbol.asyncDispose]())

  async function startCache({ url }: { url: string } = server, timeoutMs = 5_000) {
    const logs = captureLogs()
    const redis = await openTestRedis(url, logs)
    const create = () => createRedisCache({ redis, clock: systemClock, logger: logs.logger, timeoutMs })
    const [one, other] = [create(), create()]
    for (const cache of [one, other]) {
      await until('Redis is connected', async () => {
        await cache.set('probe', 'x', 60_000)
        return (await cache.get('probe')) === 'x'
      })
    }
    return {
      one,
      other,
      async [Symbol.asyncDispose]() {
        await Promise.all([one.close(), other.close()])
      },
    }
  }

  cacheContract(() => startCache())

  test('is empty while Redis is away, and works again when it is back', async () => {
    await using own = await startRedisServer(program ?? '')
    await using cache = await startCache(own)
    await own.stop()

    await cache.one.set('a', 'x', 60_000)
    expect([await cache.one.get('a'), await cache.one.getOrLead('a', 'me', 1_000)]).toEqual([
      null,
      { kind: 'unavailable' },
    ])
    await Promise.all([cache.one.extend('a', 'me', 1_000), cache.one.release('a', 'me')])

    await own.start()
    await until('it keeps again', async () => {
      await cache.one.set('a', 'again', 60_000)
      return (await cache.other.get('a')) === 'again'
    })
  })

  test('a Redis that hangs is a miss', async () => {
    await using own = await startRedisServer(program ?? '')
    await using cache = await startCache(own, cacheTimeoutMs)
    await until('it keeps', async () => {
      await cache.one.set('a', 'x', 60_000)
      return (await cache.one.get('a')) === 'x'
    })
    own.freeze()
    try {
      expect(await cache.one.get('a')).toBeNull()
      expect(await cache.one.getOrLead('a', 'me', 1_000)).toEqual({ kind: 'unavailable' })
    } finally {
      own.thaw()
    }
  })
})
