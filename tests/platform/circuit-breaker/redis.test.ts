import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../../src/lib/clock.ts'
import { newId } from '../../../src/lib/ids.ts'
import { defaultBreakerRules } from '../../../src/platform/circuit-breaker/circuit-breaker.ts'
import { createRedisCircuitBreakers } from '../../../src/platform/circuit-breaker/redis.ts'
import { circuitBreakersContract } from '../../contracts/circuit-breaker.ts'
import { captureLogs } from '../../support/log-capture.ts'
import { findRedis, startRedisServer, type RedisTestServer } from '../../support/redis-server.ts'
import { openTestRedis, until } from '../redis/redis-harness.ts'

const program = findRedis()
const failed = { result: 'failed', reason: 'server_error', coolDownMs: 0 } as const

describe.skipIf(program === null)('Redis circuit breakers', () => {
  let server: RedisTestServer
  beforeAll(async () => {
    server = await startRedisServer(program ?? '')
  })
  afterAll(() => server[Symbol.asyncDispose]())

  async function startBreakers({ url } = server, rules = defaultBreakerRules) {
    const logs = captureLogs()
    const redis = await openTestRedis(url, logs)
    const create = () => createRedisCircuitBreakers({ redis, clock: systemClock, newId, logger: logs.logger, rules })
    const [one, other] = [create(), create()]
    const probe = redis.connect('requests', 'probe')
    await until('Redis is connected', () => probe.isReady())
    // Both have connections of their own, which may come up later than that one.
    const meet = async (): Promise<void> => {
      const key = newId()
      await until('both see the same breakers', async () => {
        const cool = { result: 'none', reason: 'meeting', coolDownMs: 60_000 } as const
        const admission = await one.admit(key)
        if (admission.kind === 'admitted') await one.settle(key, admission.ticket, cool)
        return (await other.inspect([key]))[0]?.state === 'COOLING_DOWN'
      })
    }
    await meet()
    return {
      one,
      other,
      meet,
      async [Symbol.asyncDispose]() {
        await Promise.all([one.close(), other.close(), probe.close()])
      },
    }
  }

  circuitBreakersContract((rules) => startBreakers(server, rules))

  async function fail(breakers: Awaited<ReturnType<typeof startBreakers>>['one'], key: string): Promise<void> {
    const admission = await breakers.admit(key)
    if (admission.kind === 'admitted') await breakers.settle(key, admission.ticket, failed)
  }

  test('opens in this process while Redis is away, and for all again when it is back', async () => {
    await using own = await startRedisServer(program ?? '')
    await using breakers = await startBreakers(own)
    await own.stop()
    const [during, after] = [newId(), newId()]
    for (let n = 0; n < 5; n += 1) await fail(breakers.one, during)

    expect(await breakers.one.admit(during)).toMatchObject({ kind: 'refused', state: 'OPEN' })
    expect(await breakers.other.admit(during)).toMatchObject({ kind: 'admitted' })

    await own.start()
    await breakers.meet()
    for (let n = 0; n < 5; n += 1) await fail(breakers.one, after)
    expect(await breakers.other.admit(after)).toMatchObject({ kind: 'refused', state: 'OPEN' })
  })

  test('counts a failure of a call that began before Redis went away', async () => {
    await using own = await startRedisServer(program ?? '')
    await using breakers = await startBreakers(own)
    const key = newId()
    const admissions = await Promise.all(Array.from({ length: 5 }, () => breakers.one.admit(key)))
    await own.stop()
    for (const admission of admissions) {
      if (admission.kind === 'admitted') await breakers.one.settle(key, admission.ticket, failed)
    }

    expect(await breakers.one.admit(key)).toMatchObject({ kind: 'refused', state: 'OPEN' })
  })

  test('survives a Redis that forgets everything', async () => {
    await using own = await startRedisServer(program ?? '')
    await using breakers = await startBreakers(own)
    const key = newId()
    const admission = await breakers.one.admit(key)
    await own.restart()
    await breakers.meet()
    if (admission.kind === 'admitted') await breakers.one.settle(key, admission.ticket, failed)

    expect(await breakers.one.admit(key)).toMatchObject({ kind: 'admitted' })
  })
})
