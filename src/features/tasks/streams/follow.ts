import type { Clock } from '../../../lib/clock.ts'
import { interruptible } from '../../../lib/interruptible.ts'
import { shuttingDown, type TopicHub, type TopicSignal, type TopicSubscriber } from './topic-hub.ts'

/** One reader of a log that is kept in rows and announced by messages. It knows its position, and moves on with each call. */
export interface Follower<Message, Head, Item> {
  /** Reads on in the rows, from the position. */
  readPage(): Promise<Page<Item>>
  /** Takes a message. 'gap': something before it is missing; the position stays. */
  acceptMessage(message: Message): readonly Item[] | 'gap'
  /** Compares with where the rows are. 'gap': they are further. */
  acceptHead(head: Head): readonly Item[] | 'gap'
  heartbeat(): Item
  ended(): boolean
}

/** A page of what the rows have; `more`: there was more than the page holds. */
export type Page<Item> = { items: readonly Item[]; more: boolean }

/** In milliseconds. */
export type StreamTimings = {
  /** A heartbeat comes after this much silence. */
  heartbeatMs: number
  /** How often heads are compared, because a lost last message leaves no gap to see. */
  headPollMs: number
  /** How long messages that overtook each other are waited for before the rows are read. */
  reorderMs: number
}

export const defaultStreamTimings: StreamTimings = { heartbeatMs: 15_000, headPollMs: 2_000, reorderMs: 25 }

export type FollowOptions<Message, Head, Item> = {
  hub: TopicHub<Message, Head>
  /** The topic to attach to. */
  key: string
  follower: Follower<Message, Head, Item>
  clock: Clock
  timings: StreamTimings
}

/** More of them than that, and reading rows is cheaper than waiting. */
const maxHeldSignals = 256

/**
 * Rows, then live, and rows again whenever a message is missing: the outbox of atproto's personal data server, with gaps that heal. It
 * attaches before it reads: what is published meanwhile waits in the subscriber's queue, and is dropped when it was among the rows.
 *
 * Each process publishes in the order of its commits, but processes overtake each other. What comes too early is held for `reorderMs`
 * before the rows are asked, or a busy feed would read rows all the time.
 *
 * Resolves when the first page is read, and rejects when that fails. The iteration throws ServiceUnavailableError when the hub is closed.
 */
export async function follow<Message, Head, Item>(
  options: FollowOptions<Message, Head, Item>,
): Promise<AsyncGenerator<Item, void, undefined>> {
  const { hub, key, follower } = options
  const subscriber = await hub.attach(key)
  try {
    const firstPage = await follower.readPage()
    return interruptible(
      (signal) => liveItems({ ...options, subscriber, firstPage, signal }),
      () => subscriber.detach(),
    )
  } catch (error) {
    await subscriber.detach()
    throw error
  }
}

type LiveOptions<Message, Head, Item> = Omit<FollowOptions<Message, Head, Item>, 'hub' | 'key'> & {
  subscriber: TopicSubscriber<Message, Head>
  firstPage: Page<Item>
  signal: AbortSignal
}

async function* liveItems<Message, Head, Item>(
  options: LiveOptions<Message, Head, Item>,
): AsyncGenerator<Item, void, undefined> {
  const { follower, subscriber, firstPage, clock, timings, signal } = options
  const held: TopicSignal<Message, Head>[] = []
  let heldSinceMs = 0
  let silentSinceMs = clock.monotonicMs()

  function* emit(items: readonly Item[]): Generator<Item, void, undefined> {
    for (const item of items) {
      yield item
      silentSinceMs = clock.monotonicMs()
    }
  }

  async function* readRows(first?: Page<Item>): AsyncGenerator<Item, void, undefined> {
    // Rows are written before they are announced: what is held is among them.
    held.length = 0
    for (let page = first ?? (await follower.readPage()); ; page = await follower.readPage()) {
      yield* emit(page.items)
      if (!page.more || signal.aborted) return
      if (clock.monotonicMs() - silentSinceMs >= timings.heartbeatMs) yield* emit([follower.heartbeat()])
    }
  }

  function* takeHeld(): Generator<Item, void, undefined> {
    for (let moved = true; moved && !follower.ended();) {
      moved = false
      for (const next of held.splice(0)) {
        const accepted = accept(follower, next)
        if (accepted === 'gap') held.push(next)
        else yield* emit(accepted)
        moved ||= accepted !== 'gap'
      }
    }
  }

  yield* readRows(firstPage)
  while (!follower.ended() && !signal.aborted) {
    const dueMs = held.length > 0 ? heldSinceMs + timings.reorderMs : silentSinceMs + timings.heartbeatMs
    const waitMs = held.length > maxHeldSignals ? 0 : dueMs - clock.monotonicMs()
    if (waitMs <= 0) {
      yield* held.length > 0 ? readRows() : emit([follower.heartbeat()])
      continue
    }
    const taken = await subscriber.signals.take({ timeoutMs: waitMs, signal })
    if (taken.kind === 'closed' && !signal.aborted) throw shuttingDown()
    if (taken.kind !== 'item') continue
    if (taken.item.kind === 'lost') {
      yield* readRows()
      continue
    }
    if (held.length === 0) heldSinceMs = clock.monotonicMs()
    held.push(taken.item)
    yield* takeHeld()
  }
}

function accept<Message, Head, Item>(
  follower: Follower<Message, Head, Item>,
  signal: TopicSignal<Message, Head>,
): readonly Item[] | 'gap' {
  switch (signal.kind) {
    case 'message':
      return follower.acceptMessage(signal.message)
    case 'head':
      return follower.acceptHead(signal.head)
    case 'lost':
      return 'gap'
  }
}
