import { isIP } from 'node:net'
import { Cluster, Redis, type RedisOptions } from 'ioredis'
import { fullJitterDelayMs } from '../../lib/backoff.ts'
import type { RedisTarget } from './redis-url.ts'

export type RedisClient = Redis | Cluster

/**
 * What a connection is for. None of them ever queues a command: while Redis is away commands fail at once, those under way fail with the
 * connection, and nothing is sent again. They differ in how long a command may take before it counts as lost.
 */
export type RedisUse = 'requests' | 'subscriptions' | 'blocking'

/** The longest that a blocking command may ask Redis to wait, in seconds. */
export const maxBlockSeconds = 2

const commandTimeoutMs: Record<RedisUse, number> = {
  requests: 2_000,
  subscriptions: 2_000,
  blocking: maxBlockSeconds * 1_000 + 1_000,
}

const connectTimeoutMs = 5_000
const closeTimeoutMs = 500

export type RedisClientOptions = {
  target: RedisTarget
  use: RedisUse
  /** What an operator sees in `CLIENT LIST`. */
  name: string
  /** In [0, 1). */
  random: () => number
}

/** A client that begins to connect, and does so again for as long as it is not disconnected. Its `error` events must be listened to. */
export function createRedisClient(options: RedisClientOptions): RedisClient {
  const { target, random } = options
  const { topology, tls } = target
  const retryDelayMs = (retry: number): number =>
    50 + fullJitterDelayMs(retry, { initialDelayMs: 50, maxDelayMs: 1_000, random })
  const common = commonOptions(options)
  switch (topology.kind) {
    case 'server':
      return new Redis({
        ...common,
        ...topology.address,
        enableOfflineQueue: false,
        retryStrategy: retryDelayMs,
        // Node does not send the name of a host to a TLS server by itself.
        ...(tls && isIP(topology.address.host) === 0 && { tls: { servername: topology.address.host } }),
      })
    case 'sentinel':
      return new Redis({
        ...common,
        sentinels: [...topology.sentinels],
        name: topology.master,
        ...(topology.username !== null && { sentinelUsername: topology.username }),
        ...(topology.password !== null && { sentinelPassword: topology.password }),
        ...(tls && { sentinelTLS: {}, enableTLSForSentinelMode: true }),
        sentinelCommandTimeout: commandTimeoutMs.requests,
        sentinelRetryStrategy: retryDelayMs,
        enableOfflineQueue: false,
        retryStrategy: retryDelayMs,
      })
    case 'cluster':
      return new Cluster([...topology.nodes], {
        redisOptions: common,
        enableOfflineQueue: false,
        clusterRetryStrategy: retryDelayMs,
        slotsRefreshTimeout: commandTimeoutMs.requests,
        // Enough for a slot that has moved; not to wait for a node that is gone.
        maxRedirections: 4,
        // The certificates of the nodes name hosts, not addresses.
        ...(tls && { dnsLookup: (host, found) => found(null, host) }),
      })
  }
}

function commonOptions({ target, use, name }: RedisClientOptions) {
  return {
    ...(target.username !== null && { username: target.username }),
    ...(target.password !== null && { password: target.password }),
    ...(target.tls && { tls: {} }),
    db: target.db,
    connectionName: `${target.prefix}-${name}`,
    connectTimeout: connectTimeoutMs,
    disconnectTimeout: closeTimeoutMs,
    commandTimeout: commandTimeoutMs[use],
    keepAlive: 10_000,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    autoResubscribe: false,
    maxLoadingRetryTime: 1_000,
    // A master that was replaced refuses writes: connect again, to the new one.
    reconnectOnError: (error) => error.message.startsWith('READONLY'),
  } satisfies RedisOptions
}

/**
 * What is sent from now until the end of this turn of the event loop goes in one write: writing is what most commands cost. Not ioredis' own
 * pipelining of commands (5.11): only one pipeline of a connection is under way at a time, the rest waits for its answers, and each is an object with
 * hundreds of properties. Not for a Cluster, each node of which has a socket of its own.
 */
export function gatherWrites(client: RedisClient): void {
  if (!(client instanceof Redis)) return
  const { stream } = client
  if (stream.writableCorked > 0) return
  stream.cork()
  setImmediate(() => stream.uncork())
}

/** Disconnects for good, also while Redis is away; commands under way fail. Resolves when the socket is closed, after 0.8 s at the latest. */
export async function closeRedisClient(client: RedisClient): Promise<void> {
  if (client.status === 'end') return
  const ended = new Promise<void>((resolve) => client.once('end', () => resolve()))
  // ioredis (5.11) never ends a client that is disconnected while it waits for its next attempt. One that is connecting, it does end.
  if (client.status === 'reconnecting') client.connect().catch(() => {})
  client.disconnect()
  let timer: NodeJS.Timeout | undefined
  const timeUp = new Promise<void>((resolve) => (timer = setTimeout(resolve, closeTimeoutMs + 300)))
  await Promise.race([ended, timeUp])
  clearTimeout(timer)
}
