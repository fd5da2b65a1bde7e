import { Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createBullmqDispatch, type BullmqDispatchOptions } from '../../../src/platform/dispatch/bullmq.ts'
import type { Dispatch } from '../../../src/platform/dispatch/dispatch.ts'
import { dispatchContract } from '../../contracts/dispatch.ts'
import { captureLogs } from '../../support/log-capture.ts'
import { findRedis, startRedisServer, type RedisTestServer } from '../../support/redis-server.ts'
import { openTestRedis, until } from '../redis/redis-harness.ts'
import { startSilentLine } from '../redis/silent-line.ts'

const program = findRedis()

describe.skipIf(program === null)('BullMQ dispatch', () => {
  let server: RedisTestServer
  beforeAll(async () => {
    server = await startRedisServer(program ?? '')
  })
  afterAll(() => server[Symbol.asyncDispose]())

  type Options = Partial<Pick<BullmqDispatchOptions, 'maxWaitingPerWorkspace' | 'lockMs' | 'doubtAfterMs'>>

  /** Two processes' ends of one queue, and a look into Redis. */
  async function startDispatch({ url = server.url, ...options }: Options & { url?: string } = {}) {
    const logs = captureLogs()
    const redis = await openTestRedis(url, logs)
    const admin = new Redis(server.port, '127.0.0.1')
    admin.on('error', () => {})
    const errors: unknown[] = []
    const all = {
      redis,
      logger: logs.logger,
      maxWaitingPerWorkspace: 3,
      onError: (error: unknown) => void errors.push(error),
      ...options,
    }
    const dispatch = await createBullmqDispatch(all)
    const other = await createBullmqDispatch(all)
    return {
      dispatch,
      other,
      admin,
      redis,
      logs,
      errors,
      async [Symbol.asyncDispose]() {
        await Promise.all([dispatch.close(), other.close()])
        admin.disconnect()
      },
    }
  }

  function consume(dispatch: Dispatch, handle: (workspaceId: string) => Promise<void> = async () => {}) {
    const taken: string[] = []
    const stop = dispatch.consume(async (workspaceId) => {
      taken.push(workspaceId)
      await handle(workspaceId)
    })
    return { taken, stop }
  }

  /** The server's own word that it is gone, seen from the process. */
  const untilAway = (dispatch: Dispatch): Promise<void> =>
    until('the loss of Redis is noticed', () =>
      dispatch.hint('probe').then(
        () => false,
        () => true,
      ),
    )

  /** Hints until one arrives: what the reconciler does. */
  const untilDelivered = (from: Dispatch, taken: readonly string[], workspaceId: string): Promise<void> =>
    until(`a hint for ${workspaceId} arrives`, async () => {
      await from.hint(workspaceId).catch(() => {})
      return taken.includes(workspaceId)
    })

  dispatchContract(() => startDispatch())

  test('delivers each hint to one process, and the rest to another while one waits', async () => {
    await using started = await startDispatch({ maxWaitingPerWorkspace: 100 })
    let free = (): void => {}
    const isFree = new Promise<void>((resolve) => (free = resolve))
    const busy = consume(started.dispatch, () => isFree)
    await started.dispatch.hint('first')
    await until('one process is busy', () => busy.taken.length === 1)
    const idle = consume(started.other)
    for (let n = 0; n < 50; n += 1) await started.dispatch.hint(`workspace-${n}`)
    await until('the other has the rest', () => idle.taken.length === 50)
    free()

    expect(busy.taken).toEqual(['first'])
    expect(idle.taken).toEqual(Array.from({ length: 50 }, (_, n) => `workspace-${n}`))
  })

  test('leaves nothing in Redis when all hints are taken', async () => {
    await using started = await startDispatch()
    const consumer = consume(started.other)
    for (let n = 0; n < 20; n += 1) await started.dispatch.hint(`workspace-${n}`)
    await until('all are taken', () => consumer.taken.length === 20)
    await consumer.stop()

    const keys = await started.admin.keys(`${started.redis.keyPrefix}*`)
    const ends = keys.map((key) => key.split(':').slice(1).join(':')).toSorted()
    expect(ends.filter((key) => !['hints:events', 'hints:id', 'hints:marker', 'hints:meta'].includes(key))).toEqual([])
  })

  test('goes on after FLUSHALL, whether it waits for hints or handles one', async () => {
    await using started = await startDispatch()
    const consumer = consume(started.other, async (workspaceId) => {
      if (workspaceId === 'flush') await started.admin.flushall()
    })
    await started.dispatch.hint('before')
    await until('it waits', () => consumer.taken.length === 1)
    await started.admin.flushall()
    await started.dispatch.hint('after')
    await until('the next hint arrives', () => consumer.taken.includes('after'))
    await started.dispatch.hint('flush')
    await started.dispatch.hint('lost or not')
    await until('it is emptied from within', () => consumer.taken.includes('flush'))

    await untilDelivered(started.dispatch, consumer.taken, 'last')
    expect(started.logs.lines.filter(({ msg }) => msg.startsWith('Redis refuses'))).toEqual([])
  })

  test('admits hints again when FLUSHALL has taken those that were counted', async () => {
    await using started = await startDispatch()
    for (let n = 0; n < 3; n += 1) await started.dispatch.hint('a')
    await started.admin.flushall()
    for (let n = 0; n < 5; n += 1) await started.dispatch.hint('a')
    const consumer = consume(started.other)

    await until('three arrive', () => consumer.taken.length === 3)
  })

  test('goes on by itself after a restart of Redis', async () => {
    await using started = await startDispatch()
    const consumer = consume(started.other)
    await started.dispatch.hint('before')
    await until('it works', () => consumer.taken.length === 1)
    await server.restart()

    await untilDelivered(started.dispatch, consumer.taken, 'after')
    expect(started.logs.lines.filter(({ msg }) => msg.startsWith('Redis refuses'))).toEqual([])
  })

  test('goes on after a restart of Redis while a hint is being handled', async () => {
    await using started = await startDispatch()
    const consumer = consume(started.other, async (workspaceId) => {
      if (workspaceId === 'long') await server.restart()
    })
    await started.dispatch.hint('long')
    await until('it is being handled', () => consumer.taken.length === 1)

    await untilDelivered(started.dispatch, consumer.taken, 'after')
  })

  test('rejects hints at once while Redis is away, in a process that consumes none', async () => {
    await using started = await startDispatch()
    await server.stop()
    try {
      await untilAway(started.dispatch)
      const startedMs = performance.now()
      for (let n = 0; n < 100; n += 1)
        await expect(started.dispatch.hint('a')).rejects.toMatchObject({ code: 'SERVICE_UNAVAILABLE' })
      // One that waited would take 2 s.
      expect(performance.now() - startedMs).toBeLessThan(10_000)
    } finally {
      await server.start()
    }
  })

  test('gives hints to the consumer of the same process while Redis is away, and shares them again when it is back', async () => {
    await using started = await startDispatch()
    const here = consume(started.dispatch)
    await server.stop()
    try {
      await untilDelivered(started.dispatch, here.taken, 'away')
    } finally {
      await server.start()
    }
    await here.stop()
    const there = consume(started.other)
    await untilDelivered(started.dispatch, there.taken, 'back')
  })

  test('calls its handler for one hint at a time, wherever the hints come from', async () => {
    await using started = await startDispatch()
    let running = 0
    let most = 0
    const consumer = consume(started.dispatch, async () => {
      running += 1
      most = Math.max(most, running)
      await new Promise((resolve) => setImmediate(resolve))
      running -= 1
    })
    for (let n = 0; n < 20; n += 1) await started.other.hint(`shared-${n}`)
    await server.stop()
    try {
      await untilDelivered(started.dispatch, consumer.taken, 'local')
      for (let n = 0; n < 20; n += 1) void started.dispatch.hint(`local-${n}`).catch(() => {})
    } finally {
      await server.start()
    }
    await untilDelivered(started.other, consumer.taken, 'after')

    expect(most).toBe(1)
  })

  test('hands hints on within bounded time when Redis hangs, the next ones at once', async () => {
    await using started = await startDispatch()
    const here = consume(started.dispatch)
    await started.dispatch.hint('before')
    await until('it works', () => here.taken.length === 1)
    server.freeze()
    try {
      const first = performance.now()
      await started.dispatch.hint('hung')
      expect(performance.now() - first).toBeLessThan(10_000)
      const second = performance.now()
      await started.dispatch.hint('hung again')
      expect(performance.now() - second).toBeLessThan(1_900)
      await until('both arrive', () => here.taken.length === 3)
    } finally {
      server.thaw()
    }
    await untilDelivered(started.other, here.taken, 'after')
  })

  test('notices a line that has died without a word while it waits for hints', async () => {
    await using line = await startSilentLine(server.port)
    await using started = await startDispatch({ url: `redis://127.0.0.1:${line.port}` })
    const consumer = consume(started.other)
    await started.dispatch.hint('before')
    await until('it works', () => consumer.taken.length === 1)
    line.goSilent()

    await untilDelivered(started.dispatch, consumer.taken, 'after')
  })

  test('delivers again what a process has taken and died with', async () => {
    await using started = await startDispatch({ lockMs: 100 })
    await started.dispatch.hint('orphan')
    const key = (name: string): string => `${started.redis.keyPrefix}:hints:${name}`
    // What is left by a process that dies right after taking: in the list of the active, its lock run out.
    await started.admin.rpoplpush(key('wait'), key('active'))
    const consumer = consume(started.other)

    await until('it is delivered after all', () => consumer.taken.includes('orphan'))
    await until('it has left the queue', async () => (await started.admin.llen(key('active'))) === 0)
  })

  test('mends a count that is too high because a process died between counting and adding', async () => {
    await using started = await startDispatch({ maxWaitingPerWorkspace: 1, doubtAfterMs: 100 })
    const counted = `${started.redis.keyPrefix}:hinted:a`
    await started.admin.hset(counted, { count: 1, after: 0, at: Date.now() })
    const consumer = consume(started.other)

    await untilDelivered(started.dispatch, consumer.taken, 'a')
  })

  test('mends no count while the hints it counts are waiting', async () => {
    await using started = await startDispatch({ maxWaitingPerWorkspace: 2, doubtAfterMs: 0 })
    await started.dispatch.hint('first')
    for (let n = 0; n < 50; n += 1) await started.dispatch.hint('a')

    expect(await started.admin.llen(`${started.redis.keyPrefix}:hints:wait`)).toBe(3)
  })

  test('passes over a job that is not a hint', async () => {
    await using started = await startDispatch()
    const key = (name: string): string => `${started.redis.keyPrefix}:hints:${name}`
    await started.dispatch.hint('broken')
    const [id = ''] = await started.admin.lrange(key('wait'), 0, 0)
    await started.admin.hset(key(id), 'data', '{"something":"else"}')
    await started.dispatch.hint('good')
    const consumer = consume(started.other)

    await until('the next one arrives', () => consumer.taken.includes('good'))
    expect(consumer.taken).toEqual(['good'])
  })

  test('reports a handler that throws, and goes on', async () => {
    await using started = await startDispatch()
    const bug = new Error('a bug')
    const consumer = consume(started.other, async (workspaceId) => {
      if (workspaceId === 'bad') throw bug
    })
    await started.dispatch.hint('bad')
    await started.dispatch.hint('good')

    await until('the next one arrives', () => consumer.taken.includes('good'))
    expect(started.errors).toEqual([bug])
  })

  test('says once that Redis refuses, and works within the process meanwhile', async () => {
    await using refusing = await startRedisServer(program ?? '', {
      flags: ['--user', 'default', 'on', 'nopass', '~*', '&*', '+@all', '-eval', '-evalsha'],
    })
    await using started = await startDispatch({ url: refusing.url })
    const here = consume(started.dispatch)
    for (let n = 0; n < 10; n += 1) await started.dispatch.hint(`workspace-${n}`)

    await until('they arrive all the same', () => here.taken.length === 10)
    const lines = started.logs.lines.filter(({ msg }) => msg.startsWith('Redis refuses hints'))
    expect(lines.map((line) => line['reason'])).toEqual([expect.stringContaining('NOPERM')])
  })

  test.each(['away', 'hung'] as const)('closes promptly while Redis is %s and a handler hangs', async (state) => {
    const started = await startDispatch()
    const stuck = consume(started.dispatch, () => new Promise<void>(() => {}))
    await started.dispatch.hint('stuck')
    await until('a handler hangs', () => stuck.taken.length === 1)
    consume(started.other)
    if (state === 'away') await server.stop()
    else server.freeze()
    try {
      const startedMs = performance.now()
      await Promise.all([started.dispatch.close(), started.other.close()])
      expect(performance.now() - startedMs).toBeLessThan(10_000)
    } finally {
      if (state === 'away') await server.start()
      else server.thaw()
      await started[Symbol.asyncDispose]()
    }
  })

  test('logs an outage once, and its end', async () => {
    await using started = await startDispatch()
    const here = consume(started.dispatch)
    consume(started.other)
    await server.stop()
    try {
      for (let n = 0; n < 100; n += 1) await started.dispatch.hint(`workspace-${n}`)
      await until('it is logged', () => started.logs.lines.some(({ msg }) => msg.startsWith('Redis is away')))
    } finally {
      await server.start()
    }
    await until('its end is logged', () => started.logs.lines.some(({ msg }) => msg === 'Redis is back'))
    await here.stop()

    expect(started.logs.lines.map(({ level, msg }) => `${level}: ${msg}`)).toEqual([
      'warn: Redis is away; work goes on more slowly',
      'info: Redis is back',
    ])
  })
})
