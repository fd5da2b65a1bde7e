import { RedisPubSub } from 'graphql-redis-subscriptions'
import type { Logger } from '../logger.ts'
import { createChannels, type Channels } from '../redis/channels.ts'
import type { RedisServer } from '../redis/redis.ts'
import type { RedisClient } from '../redis/redis-client.ts'
import type { Events, EventSubscription } from './events.ts'

export type RedisEventsOptions = {
  redis: RedisServer
  logger: Logger
  /** How long `subscribe` waits for Redis, in milliseconds. Default 1 000. */
  subscribeLimitMs?: number | undefined
  /** How often it is checked that the subscriptions are alive, in milliseconds. Default 5 000. */
  beatMs?: number | undefined
}

/** How long the start waits for its connections; without them it goes on as it does when Redis is away. */
const connectLimitMs = 5_000

/**
 * Fan-out to all processes, over Redis Pub/Sub. While Redis is away `publish` rejects and `subscribe` resolves all the same; when it is back,
 * all subscriptions are. A message is parsed once for all listeners of its topic. `close` takes at most a second.
 */
export async function createRedisEvents(options: RedisEventsOptions): Promise<Events> {
  const { redis, logger, subscribeLimitMs = 1_000, beatMs } = options
  const publisher = redis.connect('requests', 'publisher')
  const subscriber = redis.connect('subscriptions', 'subscriber')
  const channelOf = (topic: string): string => `${redis.channelPrefix}${topic}`
  const channels = createChannels({ connection: subscriber, probeChannel: channelOf(''), logger, beatMs })
  const pubSub = new RedisPubSub({
    publisher: publisher.client,
    subscriber: subscribingThrough(channels, subscriber.client),
  })
  const open = new Set<EventSubscription>()
  let closed = false
  await Promise.all([publisher.untilReady(connectLimitMs), subscriber.untilReady(connectLimitMs)])

  return {
    async publish(topic, message) {
      if (closed) throw new Error('events are closed')
      await publisher.run(() => pubSub.publish(channelOf(topic), message))
    },
    async subscribe(topic, listener) {
      if (closed) throw new Error('events are closed')
      const channel = channelOf(topic)
      const id = await pubSub.subscribe(channel, listener)
      const subscription: EventSubscription = {
        async unsubscribe() {
          if (open.delete(subscription)) pubSub.unsubscribe(id)
        },
      }
      open.add(subscription)
      await channels.untilConfirmed(channel, subscribeLimitMs)
      if (closed) throw new Error('events are closed')
      return subscription
    },
    async close() {
      closed = true
      for (const subscription of open) await subscription.unsubscribe()
      channels.close()
      await Promise.all([publisher.close(), subscriber.close()])
    },
  }
}

/**
 * The client, with its subscribing replaced: RedisPubSub (2.7) keeps count of a topic's listeners well, but takes what it asks of Redis for
 * done, or else leaves a promise rejected that nobody can catch.
 */
function subscribingThrough(channels: Channels, client: RedisClient): RedisClient {
  const replaced = new Map<string | symbol, unknown>([
    [
      'subscribe',
      (channel: string, callback: (error: null) => void) => {
        channels.add(channel)
        callback(null)
      },
    ],
    ['unsubscribe', (channel: string) => channels.remove(channel)],
    // It sends both for every topic; we have no patterns.
    ['punsubscribe', () => {}],
  ])
  return new Proxy(client, {
    get(target, key) {
      const value: unknown = replaced.get(key) ?? Reflect.get(target, key)
      return typeof value === 'function' && !replaced.has(key) ? value.bind(target) : value
    },
  })
}
