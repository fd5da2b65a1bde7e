import type { Clock } from '../../lib/clock.ts'
import { ServiceUnavailableError } from '../../lib/errors.ts'
import type { Logger } from '../logger.ts'
import { createOutageLog } from './outage-log.ts'
import { closeRedisClient, createRedisClient, type RedisClient, type RedisUse } from './redis-client.ts'
import { openRedisConnection, type RedisConnection } from './redis-connection.ts'
import { isAccessRefusal, RedisError, redisReason } from './redis-errors.ts'
import { describeRedis, parseRedisUrl, type RedisTarget } from './redis-url.ts'

/** One Redis (a server, one behind Sentinels, or a Cluster), and the connections to it. Each driver takes connections of its own. */
export interface RedisServer {
  /** Begins the name of every key. A hash tag: in a Cluster, scripts find all their keys in one place. */
  readonly keyPrefix: string
  /** Begins the name of every channel; channels are shared by all databases of a server, so it names ours. */
  readonly channelPrefix: string
  /** Opens a connection. `name` is unique within the process; whoever opens it closes it. */
  connect(use: RedisUse, name: string): RedisConnection
}

export type OpenRedisOptions = {
  /** See redis-url.ts. */
  url: string
  clock: Clock
  logger: Logger
  /** In [0, 1). */
  random: () => number
  /** For how long to try, in milliseconds. Default 30 000. */
  limitMs?: number
}

/**
 * Resolves when Redis answers and is fit for us. While it cannot be reached it is tried again; after `limitMs` that is a
 * ServiceUnavailableError, and so are, at once, credentials or a database that it refuses, a version before 6.2, and a URL of the wrong kind.
 * Nothing is left open. Throws RedisUrlError when the URL is not one.
 */
export async function openRedis({
  url,
  clock,
  logger,
  random,
  limitMs = 30_000,
}: OpenRedisOptions): Promise<RedisServer> {
  const target = parseRedisUrl(url)
  const probe = createRedisClient({ target, use: 'requests', name: 'check', random })
  try {
    await untilUsable(probe, { target, logger, limitMs })
    checkInfo(await readInfo(probe), target, logger)
  } finally {
    await closeRedisClient(probe)
  }
  const outages = createOutageLog({ logger, clock })
  return {
    keyPrefix: `{${target.prefix}}`,
    channelPrefix: `${target.prefix}:${target.db}:`,
    connect: (use, name) => openRedisConnection({ target, use, name, random, outages }),
  }
}

type WaitOptions = { target: RedisTarget; logger: Logger; limitMs: number }

async function untilUsable(client: RedisClient, { target, logger, limitMs }: WaitOptions): Promise<void> {
  const at = describeRedis(target)
  let timer: NodeJS.Timeout | undefined
  let reason: string | null = null
  try {
    await new Promise<void>((resolve, reject) => {
      const fail = (message: string): void =>
        reject(new ServiceUnavailableError(`${message} (${reason ?? 'it does not answer'})`, { suggestions: [] }))
      timer = setTimeout(() => fail(`Redis at ${at} could not be reached within ${limitMs / 1_000} s.`), limitMs)
      client.on('ready', resolve)
      client.on('error', (error: unknown) => {
        if (reason === null) logger.warn({ reason: redisReason(error), limitMs }, 'Redis cannot be reached yet')
        reason = redisReason(error)
        if (isAccessRefusal(error)) fail(`Redis at ${at} refuses us.`)
      })
    })
  } finally {
    clearTimeout(timer)
  }
}

async function readInfo(client: RedisClient): Promise<ReadonlyMap<string, string>> {
  try {
    const lines = (await client.info()).split(/\r?\n/)
    return new Map(lines.map((line) => [line.split(':', 1)[0] ?? '', line.slice(line.indexOf(':') + 1)]))
  } catch (error) {
    // An account that may not ask is no reason to stop: everything we need may be allowed.
    if (isAccessRefusal(error)) return new Map()
    throw new RedisError(error)
  }
}

const oldestVersion = [6, 2] as const

function checkInfo(info: ReadonlyMap<string, string>, { topology }: RedisTarget, logger: Logger): void {
  const version = info.get('redis_version')
  const [major = 0, minor = 0] = (version ?? '').split('.').map(Number)
  if (version !== undefined && (major < oldestVersion[0] || (major === oldestVersion[0] && minor < oldestVersion[1])))
    throw new ServiceUnavailableError(`Redis is version ${version}; ${oldestVersion.join('.')} or newer is needed.`)
  const mode = info.get('redis_mode') ?? 'standalone'
  if (topology.kind === 'server' && mode !== 'standalone')
    throw new ServiceUnavailableError(`This Redis is a ${mode}: its URL must begin with redis+${mode}://.`)
  const policy = info.get('maxmemory_policy') ?? 'noeviction'
  if (policy !== 'noeviction')
    logger.warn({ policy }, 'Redis may drop keys when its memory is full; its maxmemory-policy should be noeviction')
}
