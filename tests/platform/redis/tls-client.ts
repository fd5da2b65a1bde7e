import { systemClock } from '../../../src/lib/clock.ts'
import { createLogger } from '../../../src/platform/logger.ts'
import { openRedis } from '../../../src/platform/redis/redis.ts'

/** A process of its own: says PONG when Redis at the URL answers, or else why not. */
const [, , url = ''] = process.argv
try {
  const logger = createLogger({ level: 'silent' })
  const redis = await openRedis({ url, clock: systemClock, logger, random: Math.random, limitMs: 3_000 })
  const connection = redis.connect('requests', 'test')
  await connection.untilReady(3_000)
  console.log(await connection.run((client) => client.ping()))
  await connection.close()
} catch (error) {
  console.log(error instanceof Error ? error.message : error)
}
