import { isCommandTimeout, RedisError, redisReason } from './redis-errors.ts'
import {
  closeRedisClient,
  createRedisClient,
  gatherWrites,
  type RedisClient,
  type RedisClientOptions,
} from './redis-client.ts'
import type { OutageLog } from './outage-log.ts'

/** One connection with one use. It connects again by itself; while it is not connected its commands fail at once. */
export interface RedisConnection {
  readonly client: RedisClient
  isReady(): boolean
  /** Resolves to true when the connection is usable, to false when it was not within `limitMs`. */
  untilReady(limitMs: number): Promise<boolean>
  /** Calls `listener` whenever the connection has become usable; not for the present. */
  onReady(listener: () => void): void
  /**
   * Sends commands. Throws RedisError when Redis is away, does not answer in time, or refuses; whether a command without an answer was
   * carried out is not known. A time-out renews the connection, so that those who come after do not wait as long.
   */
  run<T>(send: (client: RedisClient) => Promise<T>): Promise<T>
  /** Commands under way fail. Resolves within 0.8 s, whatever Redis does. */
  close(): Promise<void>
}

export type RedisConnectionOptions = RedisClientOptions & { outages: OutageLog }

export function openRedisConnection({ outages, ...options }: RedisConnectionOptions): RedisConnection {
  const { name } = options
  const client = createRedisClient(options)
  let closed = false
  // Between giving a connection up and its end.
  let isLeaving = false

  client.on('ready', () => outages.up(name))
  client.on('close', () => {
    isLeaving = false
    if (!closed) outages.down(name)
  })
  client.on('error', (error: unknown) => {
    if (!closed) outages.down(name, redisReason(error))
  })

  const isReady = (): boolean => !closed && !isLeaving && client.status === 'ready'

  return {
    client,
    isReady,
    async untilReady(limitMs) {
      if (isReady() || closed) return isReady()
      let stop = (): void => {}
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, limitMs)
        const settle = (): void => resolve()
        client.once('ready', settle)
        client.once('end', settle)
        stop = () => {
          clearTimeout(timer)
          client.off('ready', settle)
          client.off('end', settle)
        }
      })
      stop()
      return isReady()
    },
    onReady(listener) {
      client.on('ready', listener)
    },
    async run(send) {
      if (!isReady()) throw new RedisError(new Error('There is no connection.'))
      gatherWrites(client)
      try {
        return await send(client)
      } catch (error) {
        if (isCommandTimeout(error) && isReady()) {
          isLeaving = true
          outages.down(name, redisReason(error))
          client.disconnect(true)
        }
        throw new RedisError(error)
      }
    },
    async close() {
      closed = true
      outages.forget(name)
      await closeRedisClient(client)
    },
  }
}
