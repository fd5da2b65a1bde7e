import { setTimeout as delay } from 'node:timers/promises'
import { createReader, StreamViolation, type Reader } from '../../support/task-reader.ts'
import type { Connection } from './connection.ts'
import { createFeedReader, type FeedReader } from './feed-reader.ts'
import type { Fleet } from './fleet.ts'
import type { SeededRandom } from './seeded-random.ts'
import type { Session } from './session.ts'

export type FollowerOptions = {
  fleet: Fleet
  session: Session
  random: SeededRandom
  /** It gives up when this is aborted. */
  signal: AbortSignal
  /** Breaks the connection that it has when this is aborted, and no later one. */
  wake: AbortSignal
  onProblem: (problem: string) => void
}

/** Without a word for longer than this a stream is taken for dead; there is a heartbeat every 15 s. */
const silenceLimitMs = 25_000

/** Follows a task to its end, over any API and through every broken connection, as a client does that keeps its cursor. */
export async function followTask(taskId: string, options: FollowerOptions): Promise<Reader> {
  const reader = createReader(taskId)
  const isDone = await follow(options, async (connect) => {
    // Some leave by themselves, and come back elsewhere.
    let left = options.random.chance(0.3) ? options.random.between(1, 20) : Infinity
    await reader.read(connect.client, connect.token, () => (connect.sawItem(), (left -= 1) <= 0), connect.options)
    return reader.isDone
  })
  if (!isDone) options.onProblem(`the stream of ${taskId} has not come to its end; it is at version ${reader.version}`)
  return reader
}

/** Follows a workspace's feed from a cursor until `isEnough`. */
export async function followFeed(
  from: { workspaceId: string; cursor: string },
  isEnough: (reader: FeedReader) => boolean,
  options: FollowerOptions,
): Promise<FeedReader> {
  const reader = createFeedReader(from)
  const isDone = await follow(options, async (connect) => {
    if (isEnough(reader)) return true
    let left = options.random.between(20, 400)
    await reader.read(connect, () => (connect.sawItem(), isEnough(reader) || (left -= 1) <= 0))
    return isEnough(reader)
  })
  if (!isDone) options.onProblem(`the feed has not come to its end; it is at ${reader.events.length} events`)
  return reader
}

/** Connects again and again until `read` says that it is done; false when it had to give up. */
async function follow(
  { fleet, session, random, signal, wake, onProblem }: FollowerOptions,
  read: (connection: Connection) => Promise<boolean>,
): Promise<boolean> {
  while (!signal.aborted) {
    const silence = new AbortController()
    const breaking = [signal, silence.signal, ...(wake.aborted ? [] : [wake])]
    const timer = setTimeout(() => silence.abort(), silenceLimitMs)
    try {
      const isDone = await read({
        client: fleet.anyApi(random).client,
        token: await session.token(),
        options: {
          over: random.pick(['websocket', 'event-stream']),
          signal: AbortSignal.any(breaking),
        },
        sawItem: () => void timer.refresh(),
      })
      if (isDone) return true
    } catch (error) {
      if (error instanceof StreamViolation) {
        onProblem(`a stream broke its promise: ${error.message}`)
        return true
      }
      // The connection was refused, or broke: more a client cannot know. But nothing may be a fault of the program.
      if (String(error).includes('INTERNAL_SERVER_ERROR')) onProblem(`a stream failed: ${String(error)}`)
    } finally {
      clearTimeout(timer)
    }
    await delay(random.between(50, 500))
  }
  return false
}
