import { createBoundedQueue, type BoundedQueue } from '../../../lib/bounded-queue.ts'
import { ServiceUnavailableError } from '../../../lib/errors.ts'
import type { EventSubscription, Events } from '../../../platform/events/events.ts'
import type { Logger } from '../../../platform/logger.ts'

/**
 * What a subscriber of a topic hears: its messages; now and then where the rows are (the head), because a lost last message leaves no
 * gap to see; and that it was too slow, or a message could not be read, and it must turn to the rows.
 */
export type TopicSignal<Message, Head> =
  { kind: 'message'; message: Message } | { kind: 'head'; head: Head } | { kind: 'lost' }

/** One subscription of Events for each topic of this process, shared by all its subscribers. */
export interface TopicHub<Message, Head> {
  /**
   * Attaches a subscriber. When the promise resolves, it hears every message published from then on. Attach before reading the rows.
   * Whoever attaches detaches.
   */
  attach(key: string): Promise<TopicSubscriber<Message, Head>>
  /** How many topics have subscribers. */
  topicCount(): number
  /** Closes the queues of all subscribers and ends the subscriptions. */
  close(): Promise<void>
}

export interface TopicSubscriber<Message, Head> {
  /** Its own bounded queue: when it is full, its content gives way to one `lost`, and nobody else notices. Closed with the hub. */
  readonly signals: Pick<BoundedQueue<TopicSignal<Message, Head>>, 'take'>
  /** Idempotent. */
  detach(): Promise<void>
}

export type TopicHubOptions<Message, Head> = {
  events: Events
  topicOf: (key: string) => string
  /** Reads a message once for all subscribers; null: it is none of ours. */
  parse: (json: unknown) => Message | null
  /** Where the rows of these topics are, in one query; what is missing does not exist any more. */
  readHeads: (keys: readonly string[]) => Promise<ReadonlyMap<string, Head>>
  logger: Logger
  /** How often the heads are compared, in milliseconds. Default 2 000. */
  headPollMs?: number | undefined
  /** Default 512. */
  maxQueuedSignals?: number | undefined
}

type Queue<Message, Head> = BoundedQueue<TopicSignal<Message, Head>>
type Topic<Message, Head> = { queues: Set<Queue<Message, Head>>; subscription: Promise<EventSubscription> }

export function createTopicHub<Message, Head>(options: TopicHubOptions<Message, Head>): TopicHub<Message, Head> {
  const { events, topicOf, parse, readHeads, logger, headPollMs = 2_000, maxQueuedSignals = 512 } = options
  const topics = new Map<string, Topic<Message, Head>>()
  let closed = false
  let pollTimer: NodeJS.Timeout | null = null
  let polling: Promise<void> | null = null
  let pollFails = false

  function openTopic(key: string): Topic<Message, Head> {
    const queues = new Set<Queue<Message, Head>>()
    const subscription = events.subscribe(topicOf(key), (json) => {
      const message = parse(json)
      send(queues, message === null ? { kind: 'lost' } : { kind: 'message', message })
    })
    const topic = { queues, subscription }
    topics.set(key, topic)
    schedulePoll()
    return topic
  }

  async function leave(key: string, topic: Topic<Message, Head>, queue: Queue<Message, Head>): Promise<void> {
    queue.close()
    topic.queues.delete(queue)
    // Who attaches from here on opens the topic anew.
    if (topic.queues.size > 0 || topics.get(key) !== topic) return
    topics.delete(key)
    if (topics.size === 0) stopPolling()
    await endSubscription(topic)
  }

  async function endSubscription(topic: Topic<Message, Head>): Promise<void> {
    try {
      await (await topic.subscription).unsubscribe()
    } catch (error) {
      logger.warn({ err: error }, 'ending a subscription failed')
    }
  }

  function schedulePoll(): void {
    if (closed || pollTimer !== null || polling !== null || topics.size === 0) return
    pollTimer = setTimeout(() => {
      pollTimer = null
      polling = poll().finally(() => {
        polling = null
        schedulePoll()
      })
    }, headPollMs)
    pollTimer.unref()
  }

  function stopPolling(): void {
    if (pollTimer !== null) clearTimeout(pollTimer)
    pollTimer = null
  }

  async function poll(): Promise<void> {
    const polled = [...topics]
    try {
      const heads = await readHeads(polled.map(([key]) => key))
      for (const [key, { queues }] of polled) {
        const head = heads.get(key)
        send(queues, head === undefined ? { kind: 'lost' } : { kind: 'head', head })
      }
      pollFails = false
    } catch (error) {
      if (!pollFails) logger.warn({ err: error, topics: polled.length }, 'comparing heads failed; it is tried again')
      pollFails = true
    }
  }

  return {
    async attach(key) {
      if (closed) throw shuttingDown()
      const topic = topics.get(key) ?? openTopic(key)
      const queue = createBoundedQueue<TopicSignal<Message, Head>>({ maxItems: maxQueuedSignals })
      topic.queues.add(queue)
      try {
        await topic.subscription
      } catch (error) {
        queue.close()
        topic.queues.delete(queue)
        if (topics.get(key) === topic) topics.delete(key)
        if (topics.size === 0) stopPolling()
        throw error
      }
      return { signals: queue, detach: () => leave(key, topic, queue) }
    },
    topicCount: () => topics.size,
    async close() {
      closed = true
      stopPolling()
      const open = [...topics.values()]
      topics.clear()
      for (const { queues } of open) for (const queue of queues) queue.close()
      await Promise.all(open.map(endSubscription))
      await polling
    },
  }
}

function send<Message, Head>(queues: ReadonlySet<Queue<Message, Head>>, signal: TopicSignal<Message, Head>): void {
  for (const queue of queues) {
    if (queue.push(signal)) continue
    queue.clear()
    queue.push({ kind: 'lost' })
  }
}

/** What a stream ends with when the server stops: mere silence would look like the end. */
export function shuttingDown(): ServiceUnavailableError {
  return new ServiceUnavailableError('The server is shutting down.', {
    suggestions: ['Connect again, with the last cursor as `after`.'],
  })
}
