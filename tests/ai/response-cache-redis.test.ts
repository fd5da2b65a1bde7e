import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { workspaceScope } from '../../src/ai/model-call.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { createRedisCache } from '../../src/platform/cache/redis.ts'
import { captureLogs } from '../support/log-capture.ts'
import { chunk, done, finish, hold, startModelServer, stream, text, usage } from '../support/model-server.ts'
import { findRedis, startRedisServer, type RedisTestServer } from '../support/redis-server.ts'
import { until } from '../support/until.ts'
import { openTestRedis } from '../platform/redis/redis-harness.ts'
import { createTestAi, requestFor } from './call-model.ts'

const program = findRedis()
const patient = { connectMs: 60_000, firstTokenMs: 60_000, idleMs: 60_000, totalMs: 120_000 }

describe.skipIf(program === null)('answers remembered in Redis', () => {
  let redis: RedisTestServer
  beforeAll(async () => {
    redis = await startRedisServer(program ?? '')
  })
  afterAll(() => redis[Symbol.asyncDispose]())

  /** Two clients with a connection each, as two processes have them, and a model that answers when it is told to. */
  async function start() {
    const server = await startModelServer()
    let go = (): void => undefined
    const held = new Promise<void>((resolve) => (go = resolve))
    server.replyAlways(stream(chunk({ role: 'assistant' }), text('Good.'), hold(held), finish(), usage(1, 1), done))
    const logs = captureLogs()
    const connection = await openTestRedis(redis.url, logs)
    const caches = [1, 2].map(() =>
      createRedisCache({ redis: connection, clock: systemClock, logger: logs.logger, timeoutMs: 5_000 }),
    )
    for (const cache of caches) {
      await until(
        'Redis is connected',
        async () => {
          await cache.set('probe', 'x', 60_000)
          return cache.get('probe')
        },
        (value) => value === 'x',
      )
    }
    const clients = caches.map((cache) =>
      createTestAi({ a: server }, { responses: { cache, defaultTtlMs: 600_000 }, timeouts: patient }),
    )
    async function ask(client: number): Promise<{ text: string; cached: boolean }> {
      const signal = new AbortController().signal
      const ai = clients[client]
      if (ai === undefined) throw new RangeError('there are two clients')
      for await (const event of ai.stream(requestFor('Hello?', { temperature: 0 }), {
        signal,
        scopes: [workspaceScope('w')],
      })) {
        if (event.type === 'finished') return { text: event.answer.text, cached: event.answer.cached }
      }
      throw new Error('no answer')
    }
    const asked = (count: number) =>
      until(
        'the model is asked',
        async () => server.requests.length,
        (requests) => requests >= count,
      )
    return {
      server,
      go,
      ask,
      asked,
      async [Symbol.asyncDispose]() {
        await Promise.all(clients.map((ai) => ai.close()))
        await Promise.all(caches.map((cache) => cache.close()))
        await server.close()
      },
    }
  }

  test('one of two processes asks the model, and both have its answer', { timeout: 60_000 }, async () => {
    await using two = await start()
    const first = two.ask(0)
    await two.asked(1)
    const second = two.ask(1)
    two.go()

    expect([await first, await second]).toEqual([
      { text: 'Good.', cached: false },
      { text: 'Good.', cached: true },
    ])
    expect(two.server.requests).toHaveLength(1)
  })

  test('a Redis that dies while one leads and another waits costs no answer', { timeout: 60_000 }, async () => {
    await using two = await start()
    const first = two.ask(0)
    await two.asked(1)
    const second = two.ask(1)
    await redis.stop()
    await two.asked(2)
    two.go()

    expect([await first, await second]).toEqual([
      { text: 'Good.', cached: false },
      { text: 'Good.', cached: false },
    ])
    await redis.start()
  })
})
