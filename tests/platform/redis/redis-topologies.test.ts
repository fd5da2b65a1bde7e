import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { createBullmqDispatch } from '../../../src/platform/dispatch/bullmq.ts'
import { createRedisEvents } from '../../../src/platform/events/redis.ts'
import { captureLogs } from '../../support/log-capture.ts'
import { findRedis } from '../../support/redis-server.ts'
import { openTestRedis, until } from './redis-harness.ts'
import { startRedisCluster, startRedisSentinel, startRedisTls } from './redis-topologies.ts'

const program = findRedis() ?? ''

/** Both drivers on one Redis, each with a far end. */
async function startDrivers(url: string) {
  const logs = captureLogs()
  const { logger } = logs
  const redis = await openTestRedis(url, logs)
  const hinted = { redis, logger, maxWaitingPerWorkspace: 3, onError: () => {} }
  const [publisher, subscriber] = [
    await createRedisEvents({ redis, logger }),
    await createRedisEvents({ redis, logger, beatMs: 200 }),
  ]
  const [hinter, worker] = [await createBullmqDispatch(hinted), await createBullmqDispatch(hinted)]
  const received: unknown[] = []
  const taken: string[] = []
  await subscriber.subscribe('topic', (message) => received.push(message))
  worker.consume(async (workspaceId) => void taken.push(workspaceId))

  return {
    logs,
    /** Publishes and hints until both arrive. */
    async untilBothWork(name: string): Promise<void> {
      await until(`a message arrives (${name})`, async () => {
        await publisher.publish('topic', name).catch(() => {})
        return received.includes(name)
      })
      await until(`a hint arrives (${name})`, async () => {
        await hinter.hint(name).catch(() => {})
        return taken.includes(name)
      })
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([publisher, subscriber, hinter, worker].map((driver) => driver.close()))
    },
  }
}

describe.skipIf(program === '')('Redis behind Sentinels', () => {
  test('is found, and found again when a replica has become the master', async () => {
    await using sentinel = await startRedisSentinel(program)
    await using drivers = await startDrivers(sentinel.url)
    await drivers.untilBothWork('before')
    await sentinel.master.stop()

    await drivers.untilBothWork('after')
  })
})

describe.skipIf(program === '')('a Redis Cluster', () => {
  test('carries messages and hints, also after each of its nodes was restarted', async () => {
    await using cluster = await startRedisCluster(program)
    await using drivers = await startDrivers(cluster.url)
    await drivers.untilBothWork('before')
    for (const [index, node] of cluster.nodes.entries()) {
      await node.restart()
      await drivers.untilBothWork(`after ${index}`)
    }
  })
})

describe.skipIf(program === '')('Redis over TLS', () => {
  const run = promisify(execFile)
  const client = fileURLToPath(new URL('tls-client.ts', import.meta.url))

  // What a process trusts is settled when it starts.
  const connect = (url: string, env: Record<string, string>) =>
    run(process.execPath, ['--import', 'tsx', client, url], { env: { PATH: process.env['PATH'], ...env } })

  test('is used when its certificate can be trusted, and only then', async () => {
    await using server = await startRedisTls(program)
    if (server === null) return
    const trusting = await connect(server.url, { NODE_EXTRA_CA_CERTS: server.authorityFile })
    const doubting = await connect(server.url, {})

    expect(trusting.stdout.trim()).toBe('PONG')
    expect(doubting.stdout).toContain('self-signed certificate')
  })
})
