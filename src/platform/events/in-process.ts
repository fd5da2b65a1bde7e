import { EventEmitter } from 'node:events'
import { PubSub } from 'graphql-subscriptions'
import type { Events, EventSubscription } from './events.ts'

/**
 * Fan-out within one process. Messages are delivered before `publish` resolves, as the JSON that another process would get: a Date
 * arrives as text here too. That costs one serialisation for each message, and nothing when nobody listens.
 */
export function createInProcessEvents(): Events {
  const emitter = new EventEmitter()
  // As many listeners as there are, not a leak.
  emitter.setMaxListeners(0)
  const pubSub = new PubSub<Record<string, unknown>>({ eventEmitter: emitter })
  const open = new Set<EventSubscription>()
  let closed = false

  return {
    async publish(topic, message) {
      if (closed) throw new Error('events are closed')
      if (emitter.listenerCount(topic) === 0) return
      const received: unknown = JSON.parse(JSON.stringify(message))
      await pubSub.publish(topic, received)
    },
    async subscribe(topic, listener) {
      if (closed) throw new Error('events are closed')
      const id = await pubSub.subscribe(topic, listener)
      const subscription: EventSubscription = {
        async unsubscribe() {
          if (open.delete(subscription)) pubSub.unsubscribe(id)
        },
      }
      open.add(subscription)
      return subscription
    },
    async close() {
      closed = true
      await Promise.all([...open].map((subscription) => subscription.unsubscribe()))
    },
  }
}
