import { setImmediate as nextTurn } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { afterEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../../src/lib/clock.ts'
import { openRedis } from '../../../src/platform/redis/redis.ts'
import { captureLogs, type LogCapture } from '../../support/log-capture.ts'
import { findRedis, freePort, startRedisServer } from '../../support/redis-server.ts'

const program = findRedis() ?? ''

describe.skipIf(program === '')('opening Redis', () => {
  let logs: LogCapture = captureLogs()
  afterEach(() => {
    expect(JSON.stringify(logs.lines)).not.toContain('hunter2')
    logs = captureLogs()
  })

  const open = (url: string, limitMs = 5_000) =>
    openRedis({ url, clock: systemClock, logger: logs.logger, random: Math.random, limitMs })

  test('takes the password out of the URL', async () => {
    await using server = await startRedisServer(program, { settings: { requirepass: 'hunter2 #' } })
    const redis = await open(`redis://:hunter2%20%23@127.0.0.1:${server.port}/1?prefix=blue`)
    const connection = redis.connect('requests', 'test')
    await connection.untilReady(5_000)

    expect(await connection.run((client) => client.ping())).toBe('PONG')
    expect([redis.keyPrefix, redis.channelPrefix]).toEqual(['{blue}', 'blue:1:'])
    await connection.close()
  })

  test('sends in one write what is asked for in one turn, and waits for no answer before it sends more', async () => {
    await using server = await startRedisServer(program)
    const connection = (await open(`redis://127.0.0.1:${server.port}`)).connect('requests', 'test')
    await connection.untilReady(5_000)
    const { client } = connection
    if (!(client instanceof Redis)) throw new Error('it is not a single server')
    const socket = client.stream
    const echo = (text: string): Promise<string> => connection.run(() => client.echo(text))

    const first = [echo('1'), echo('2')]
    expect(socket.writableLength).toBeGreaterThan(2 * 'echo'.length)
    await nextTurn()
    expect(socket.writableLength).toBe(0)
    // The answers to the first cannot have been read yet: this process has not looked.
    const second = [echo('3')]
    await Promise.resolve()
    expect(socket.writableLength).toBeGreaterThan(0)

    expect(await Promise.all([...first, ...second])).toEqual(['1', '2', '3'])
    await connection.close()
  })

  test.each([
    ['a wrong password', 'redis://:hunter2-wrong@', '/0', 'WRONGPASS'],
    ['no password', 'redis://', '/0', 'NOAUTH'],
    ['a database that it does not have', 'redis://:hunter2@', '/99', 'out of range'],
  ])('says at once that Redis refuses %s', async (_what, start, db, reason) => {
    await using server = await startRedisServer(program, { settings: { requirepass: 'hunter2' } })
    const startedMs = performance.now()
    const error: unknown = await open(`${start}127.0.0.1:${server.port}${db}`, 20_000).catch(
      (caught: unknown) => caught,
    )

    expect(error).toMatchObject({ code: 'SERVICE_UNAVAILABLE', message: expect.stringContaining(reason) })
    expect(String(error)).not.toContain('hunter2')
    expect(performance.now() - startedMs).toBeLessThan(5_000)
  })

  test('waits for a Redis that is still starting', async () => {
    const port = await freePort()
    const opened = open(`redis://127.0.0.1:${port}`, 20_000)
    await using _server = await startRedisServer(program, { settings: { port: String(port) } })

    await expect(opened).resolves.toMatchObject({ keyPrefix: '{monk}' })
  })

  test('gives up after a while, and says where it looked and why it failed', async () => {
    const port = await freePort()

    await expect(open(`redis://:hunter2@127.0.0.1:${port}/2`, 300)).rejects.toMatchObject({
      code: 'SERVICE_UNAVAILABLE',
      message: expect.stringMatching(
        new RegExp(`redis://127.0.0.1:${port}/2 could not be reached within 0.3 s.*ECONNREFUSED`),
      ),
    })
    expect(logs.lines.map(({ msg }) => msg)).toEqual(['Redis cannot be reached yet'])
  })

  test('says that a node of a Cluster needs another URL', async () => {
    await using server = await startRedisServer(program, { settings: { 'cluster-enabled': 'yes' } })

    await expect(open(server.url)).rejects.toMatchObject({ message: expect.stringContaining('redis+cluster://') })
  })

  test('warns of a Redis that may drop keys', async () => {
    await using server = await startRedisServer(program, { settings: { 'maxmemory-policy': 'allkeys-lru' } })
    await open(server.url)

    expect(logs.lines).toEqual([expect.objectContaining({ level: 'warn', policy: 'allkeys-lru' })])
  })
})
