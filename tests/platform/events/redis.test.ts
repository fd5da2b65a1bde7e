import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createRedisEvents } from '../../../src/platform/events/redis.ts'
import { eventsContract } from '../../contracts/events.ts'
import { captureLogs } from '../../support/log-capture.ts'
import { findRedis, startRedisServer, type RedisTestServer } from '../../support/redis-server.ts'
import { openTestRedis, until } from '../redis/redis-harness.ts'
import { startSilentLine } from '../redis/silent-line.ts'

const program = findRedis()

describe.skipIf(program === null)('Redis events', () => {
  let server: RedisTestServer
  beforeAll(async () => {
    server = await startRedisServer(program ?? '')
  })
  afterAll(() => server[Symbol.asyncDispose]())

  async function startEvents({ url = server.url, beatMs }: { url?: string; beatMs?: number } = {}) {
    const logs = captureLogs()
    const redis = await openTestRedis(url, logs)
    const publisher = await createRedisEvents({ redis, logger: logs.logger, beatMs })
    const subscriber = await createRedisEvents({ redis, logger: logs.logger, beatMs })
    return {
      redis,
      logs,
      publisher,
      subscriber,
      async [Symbol.asyncDispose]() {
        await Promise.all([publisher.close(), subscriber.close()])
      },
    }
  }

  /** Publishes until something arrives: only then is the line up again. */
  async function untilDelivered(events: Awaited<ReturnType<typeof startEvents>>, topic: string, received: unknown[]) {
    await until('messages are delivered again', async () => {
      await events.publisher.publish(topic, 'again').catch(() => {})
      return received.includes('again')
    })
  }

  eventsContract(() => startEvents())

  test('keeps the installations on one Redis apart', async () => {
    await using one = await startEvents()
    await using other = await startEvents()
    const received: unknown[] = []
    await one.subscriber.subscribe('topic', (message) => received.push(message))
    await other.publisher.publish('topic', 'theirs')
    await one.publisher.publish('topic', 'ours')

    await until('ours has come', () => received.length > 0)
    expect(received).toEqual(['ours'])
  })

  test('has every subscription live again after a restart of Redis', async () => {
    await using events = await startEvents()
    const [first, second]: [unknown[], unknown[]] = [[], []]
    await events.subscriber.subscribe('first', (message) => first.push(message))
    await events.subscriber.subscribe('second', (message) => second.push(message))
    await server.restart()

    await untilDelivered(events, 'first', first)
    await untilDelivered(events, 'second', second)
  })

  test('rejects at once what is published while Redis is away, and does not send it later', async () => {
    await using events = await startEvents()
    const received: unknown[] = []
    await events.subscriber.subscribe('topic', (message) => received.push(message))
    await server.stop()
    try {
      await until('the loss is noticed', () =>
        events.publisher.publish('topic', 'lost').then(
          () => false,
          () => true,
        ),
      )
      const startedMs = performance.now()
      for (let n = 0; n < 100; n += 1)
        await expect(events.publisher.publish('topic', 'lost')).rejects.toMatchObject({ code: 'SERVICE_UNAVAILABLE' })
      // One that waited would take 2 s.
      expect(performance.now() - startedMs).toBeLessThan(10_000)
    } finally {
      await server.start()
    }
    await untilDelivered(events, 'topic', received)
    expect(received).not.toContain('lost')
  })

  test('subscribes within a bounded time while Redis is away, and delivers once it is back', async () => {
    await using events = await startEvents()
    const received: unknown[] = []
    await server.stop()
    try {
      const startedMs = performance.now()
      await events.subscriber.subscribe('topic', (message) => received.push(message))
      const left = await events.subscriber.subscribe('left', () => {})
      await left.unsubscribe()
      expect(performance.now() - startedMs).toBeLessThan(10_000)
    } finally {
      await server.start()
    }
    await untilDelivered(events, 'topic', received)
  })

  test('rejects what is published to a Redis that hangs: the first in bounded time, the next at once', async () => {
    await using events = await startEvents()
    server.freeze()
    try {
      const first = performance.now()
      await expect(events.publisher.publish('topic', 'lost')).rejects.toMatchObject({ code: 'SERVICE_UNAVAILABLE' })
      expect(performance.now() - first).toBeLessThan(10_000)
      const second = performance.now()
      await expect(events.publisher.publish('topic', 'lost')).rejects.toMatchObject({ code: 'SERVICE_UNAVAILABLE' })
      expect(performance.now() - second).toBeLessThan(1_900)
    } finally {
      server.thaw()
    }
  })

  test('notices a line that has died without a word, and has its subscriptions live on another', async () => {
    await using line = await startSilentLine(server.port)
    await using events = await startEvents({ url: `redis://127.0.0.1:${line.port}`, beatMs: 200 })
    const received: unknown[] = []
    await events.subscriber.subscribe('topic', (message) => received.push(message))
    line.goSilent()

    await untilDelivered(events, 'topic', received)
  })

  test('closes promptly while Redis is away, and while it hangs', async () => {
    const [away, hung] = [await startEvents(), await startEvents()]
    await away.subscriber.subscribe('topic', () => {})
    await hung.subscriber.subscribe('topic', () => {})
    server.freeze()
    try {
      const startedMs = performance.now()
      await hung[Symbol.asyncDispose]()
      expect(performance.now() - startedMs).toBeLessThan(10_000)
    } finally {
      server.thaw()
    }
    await server.stop()
    try {
      await until('the loss is noticed', () =>
        away.publisher.publish('topic', 'lost').then(
          () => false,
          () => true,
        ),
      )
      const startedMs = performance.now()
      await away[Symbol.asyncDispose]()
      expect(performance.now() - startedMs).toBeLessThan(10_000)
    } finally {
      await server.start()
    }
  })

  test('logs an outage once, and its end', async () => {
    await using events = await startEvents()
    await events.subscriber.subscribe('topic', () => {})
    await server.stop()
    try {
      await until('it is logged', () => events.logs.lines.some(({ msg }) => msg.startsWith('Redis is away')))
      for (let n = 0; n < 100; n += 1) await events.publisher.publish('topic', n).catch(() => {})
    } finally {
      await server.start()
    }
    await until('its end is logged', () => events.logs.lines.some(({ msg }) => msg === 'Redis is back'))

    expect(events.logs.lines.map(({ level, msg }) => `${level}: ${msg}`)).toEqual([
      'warn: Redis is away; work goes on more slowly',
      'info: Redis is back',
    ])
  })

  test('tells nothing of what was published in its errors', async () => {
    await using refusing = await startRedisServer(program ?? '', {
      flags: ['--user', 'default', 'on', 'nopass', '~*', '&*', '+@all', '-publish'],
    })
    const logs = captureLogs()
    const redis = await openTestRedis(refusing.url, logs)
    const events = await createRedisEvents({ redis, logger: logs.logger })
    const error: unknown = await events.publish('topic', 'a confidential answer').catch((caught: unknown) => caught)
    logs.logger.warn({ err: error }, 'lost')
    await events.close()

    expect(error).toMatchObject({ code: 'SERVICE_UNAVAILABLE' })
    expect(JSON.stringify(logs.lines)).toContain('NOPERM')
    expect(JSON.stringify(logs.lines)).not.toContain('confidential')
  })
})
