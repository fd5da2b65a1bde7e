import { systemClock } from '../../../src/lib/clock.ts'
import { openRedis, type RedisServer } from '../../../src/platform/redis/redis.ts'
import { captureLogs, type LogCapture } from '../../support/log-capture.ts'

let prefixes = 0

/** A fresh corner of a Redis: its keys and channels are nobody else's. */
export async function openTestRedis(url: string, logs: LogCapture = captureLogs()): Promise<RedisServer> {
  const separator = url.includes('?') ? '&' : '?'
  return openRedis({
    url: `${url}${separator}prefix=test-${process.pid}-${(prefixes += 1)}`,
    clock: systemClock,
    logger: logs.logger,
    random: Math.random,
    limitMs: 5_000,
  })
}

/** Waits until `isSo`, for ten seconds at most. */
export async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 10_000
  while (!(await isSo())) {
    if (performance.now() > deadline) throw new Error(`waited ten seconds until ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}
