import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createRedisBoard } from '../../../src/platform/redis/board.ts'
import { captureLogs } from '../../support/log-capture.ts'
import { findRedis, startRedisServer, type RedisTestServer } from '../../support/redis-server.ts'
import { openTestRedis, until } from './redis-harness.ts'

const program = findRedis()

describe.skipIf(program === null)('a board in Redis', () => {
  let server: RedisTestServer
  beforeAll(async () => {
    server = await startRedisServer(program ?? '')
  })
  afterAll(() => server[Symbol.asyncDispose]())

  test('shows each process what the others pinned last', async () => {
    const logs = captureLogs()
    const redis = await openTestRedis(server.url, logs)
    const board = (processId: string) =>
      createRedisBoard({ redis, logger: logs.logger, name: 'test', processId, maxAgeMs: 60_000 })
    const [one, other, third] = [board('1'), board('2'), board('3')]
    await until('all are connected', async () => {
      await Promise.all([one.pin('old'), other.pin('from: 2')])
      return (await third.read()).length === 2
    })
    await one.pin('new\nline')

    expect((await third.read()).toSorted()).toEqual(['from: 2', 'new\nline'])
    expect(await one.read()).toEqual(['from: 2'])
    await Promise.all([one.close(), other.close(), third.close()])
  })

  test('forgets old notes, and shows nothing while Redis is away', async () => {
    await using own = await startRedisServer(program ?? '')
    const logs = captureLogs()
    const redis = await openTestRedis(own.url, logs)
    const board = (processId: string, maxAgeMs: number) =>
      createRedisBoard({ redis, logger: logs.logger, name: 'test', processId, maxAgeMs })
    const [one, other] = [board('1', 60_000), board('2', 1_000)]
    await until('both are connected', async () => {
      await one.pin('note')
      return (await other.read()).length === 1
    })
    await until('the note is old', async () => (await other.read()).length === 0)
    await own.stop()
    await one.pin('lost')

    expect(await other.read()).toEqual([])
    await Promise.all([one.close(), other.close()])
  })
})
