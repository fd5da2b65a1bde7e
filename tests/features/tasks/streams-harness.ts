import { systemClock } from '../../../src/lib/clock.ts'
import type { Database } from '../../../src/platform/database/database.ts'
import type { Events } from '../../../src/platform/events/events.ts'
import { createInProcessEvents } from '../../../src/platform/events/in-process.ts'
import { createLogger } from '../../../src/platform/logger.ts'
import type { StreamTimings } from '../../../src/features/tasks/streams/follow.ts'
import { createOutputWriter, type OutputWriter } from '../../../src/features/tasks/output/output-writer.ts'
import { createTaskPublisher } from '../../../src/features/tasks/streams/task-publisher.ts'
import { createTaskStreams, type TaskStreams } from '../../../src/features/tasks/streams/task-stream.ts'
import { createWorkspaceFeeds, type WorkspaceFeeds } from '../../../src/features/tasks/streams/workspace-feed.ts'
import { createTaskFixture, type TaskFixture } from './streams-fixture.ts'

/** Everything between the rows and a reader, wired as the app does it. Disposing fails when a subscription was left behind. */
export type StreamHarness = AsyncDisposable & {
  fixture: TaskFixture
  writer: OutputWriter
  streams: TaskStreams
  feeds: WorkspaceFeeds
  /** How many subscriptions of Events are open. */
  subscriptions(): number
}

export type HarnessOptions = {
  db: Database
  timings?: Partial<StreamTimings>
  maxQueuedSignals?: number
  /** Carries a message over the line: now, later, or never. Default: now. */
  carry?: (send: () => Promise<void>) => Promise<void>
}

/** Loses the messages for which `isLost` says so. */
export function losing(isLost: () => boolean): Pick<HarnessOptions, 'carry'> {
  return { carry: async (send) => (isLost() ? undefined : send()) }
}

export async function startStreams(options: HarnessOptions): Promise<StreamHarness> {
  const { db, timings, maxQueuedSignals, carry = (send) => send() } = options
  const logger = createLogger({ level: 'error' })
  const { events, subscriptions } = counted(createInProcessEvents())
  const line: Events = { ...events, publish: (topic, message) => carry(() => events.publish(topic, message)) }
  const publisher = createTaskPublisher({ events: line, logger })
  const writer = createOutputWriter({ db, publisher, logger, random: Math.random })
  const deps = {
    db,
    events,
    clock: systemClock,
    logger,
    maxQueuedSignals,
    ...(timings === undefined ? {} : { timings }),
  }
  const [streams, feeds] = [createTaskStreams(deps), createWorkspaceFeeds(deps)]
  return {
    fixture: await createTaskFixture(db, publisher),
    writer,
    streams,
    feeds,
    subscriptions,
    async [Symbol.asyncDispose]() {
      await writer.close()
      const left = [subscriptions(), streams.topicCount(), feeds.topicCount()]
      await Promise.all([streams.close(), feeds.close()])
      await events.close()
      if (left.some((count) => count > 0)) throw new Error(`subscriptions were left behind: ${left.join(', ')}`)
    },
  }
}

function counted(events: Events): { events: Events; subscriptions: () => number } {
  let open = 0
  return {
    subscriptions: () => open,
    events: {
      ...events,
      async subscribe(topic, listener) {
        const subscription = await events.subscribe(topic, listener)
        open += 1
        let isOpen = true
        return {
          async unsubscribe() {
            if (isOpen) open -= 1
            isOpen = false
            await subscription.unsubscribe()
          },
        }
      },
    },
  }
}

/** Reads until `isLast`, or the end; rejects when nothing came for ten seconds. */
export async function readUntil<Item>(
  stream: AsyncGenerator<Item, void, undefined>,
  isLast: (item: Item) => boolean = () => false,
): Promise<Item[]> {
  const items: Item[] = []
  for (;;) {
    const next = await inTime(stream.next(), () => `an item after ${JSON.stringify(items.slice(-3))}`)
    if (next.done === true) return items
    items.push(next.value)
    if (isLast(next.value)) return items
  }
}

/** The promise, or an error that says what was waited for. */
export async function inTime<T>(promise: Promise<T>, what: () => string, ms = 10_000): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${ms} ms for ${what()}`)), ms)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}
