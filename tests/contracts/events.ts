import { expect, test } from 'vitest'
import type { Events } from '../../src/platform/events/events.ts'

/** Two ends of one line: the same object in process, two connections elsewhere. */
export type StartedEvents = { publisher: Events; subscriber: Events } & AsyncDisposable

/** What every driver of Events keeps. */
export function eventsContract(start: () => Promise<StartedEvents>): void {
  test('delivers what is published after subscribe has resolved, in order', async () => {
    await using events = await start()
    const inbox = createInbox()
    await events.subscriber.subscribe('topic', inbox.listener)
    for (let n = 0; n < 100; n += 1) void events.publisher.publish('topic', { n })

    expect(await inbox.first(100)).toEqual(Array.from({ length: 100 }, (_, n) => ({ n })))
  })

  test('delivers to every listener of the topic, and to no other', async () => {
    await using events = await start()
    const [first, second, other] = [createInbox(), createInbox(), createInbox()]
    await events.subscriber.subscribe('topic', first.listener)
    await events.subscriber.subscribe('topic', second.listener)
    await events.subscriber.subscribe('topic:other', other.listener)
    await events.publisher.publish('topic', 'one')
    await events.publisher.publish('topic:other', 'two')

    expect([await first.first(1), await second.first(1), await other.first(1)]).toEqual([['one'], ['one'], ['two']])
  })

  test('delivers JSON values: dates as text, nothing that is undefined, all of Unicode', async () => {
    await using events = await start()
    const inbox = createInbox()
    await events.subscriber.subscribe('topic', inbox.listener)
    const at = new Date('2026-11-23T00:00:00.123Z')
    await events.publisher.publish('topic', {
      at,
      gone: undefined,
      none: null,
      list: [1, 'ü😀\u0000'],
      nested: { ok: true },
    })

    const [received] = await inbox.first(1)
    expect(received).toStrictEqual({
      at: '2026-11-23T00:00:00.123Z',
      none: null,
      list: [1, 'ü😀\u0000'],
      nested: { ok: true },
    })
  })

  test('delivers nothing after unsubscribe was called, which may be called twice', async () => {
    await using events = await start()
    const [left, stayed] = [createInbox(), createInbox()]
    const subscription = await events.subscriber.subscribe('topic', left.listener)
    await events.subscriber.subscribe('topic', stayed.listener)
    const unsubscribed = subscription.unsubscribe()
    await events.publisher.publish('topic', 'late')
    await unsubscribed
    await subscription.unsubscribe()
    await events.publisher.publish('topic', 'later')

    expect(await stayed.first(2)).toEqual(['late', 'later'])
    expect(left.messages).toEqual([])
  })

  test('keeps the same listener twice as two subscriptions', async () => {
    await using events = await start()
    const inbox = createInbox()
    const first = await events.subscriber.subscribe('topic', inbox.listener)
    await events.subscriber.subscribe('topic', inbox.listener)
    await events.publisher.publish('topic', 'both')
    await inbox.first(2)
    await first.unsubscribe()
    await events.publisher.publish('topic', 'one')

    expect(await inbox.first(3)).toEqual(['both', 'both', 'one'])
  })

  test('delivers to who comes after the last one has left', async () => {
    await using events = await start()
    const [left, came] = [createInbox(), createInbox()]
    const subscription = await events.subscriber.subscribe('topic', left.listener)
    const [, joined] = await Promise.all([
      subscription.unsubscribe(),
      events.subscriber.subscribe('topic', came.listener),
    ])
    await events.publisher.publish('topic', 'first')
    await came.first(1)
    await joined.unsubscribe()
    await events.subscriber.subscribe('topic', came.listener)
    await events.publisher.publish('topic', 'second')

    expect(await came.first(2)).toEqual(['first', 'second'])
    expect(left.messages).toEqual([])
  })

  test('keeps what is subscribed to while many others come and go', async () => {
    await using events = await start()
    const inbox = createInbox()
    const comeAndGo = async (topic: string): Promise<void> => {
      const subscription = await events.subscriber.subscribe(topic, () => {})
      await subscription.unsubscribe()
    }
    await Promise.all([
      ...Array.from({ length: 50 }, (_, n) => comeAndGo(n % 2 === 0 ? 'topic' : `other:${n}`)),
      events.subscriber.subscribe('topic', inbox.listener),
      ...Array.from({ length: 50 }, () => comeAndGo('topic')),
    ])
    await events.publisher.publish('topic', 'one')

    expect(await inbox.first(1)).toEqual(['one'])
  })

  test('lets a listener leave while a message is delivered', async () => {
    await using events = await start()
    const [first, second] = [createInbox(), createInbox()]
    const leaving = await events.subscriber.subscribe('topic', (message) => {
      first.listener(message)
      void leaving.unsubscribe()
    })
    await events.subscriber.subscribe('topic', second.listener)
    await events.publisher.publish('topic', 'one')
    await events.publisher.publish('topic', 'two')

    expect(await second.first(2)).toEqual(['one', 'two'])
    expect(first.messages).toEqual(['one'])
  })

  test('parses a message once for all listeners', async () => {
    await using events = await start()
    const inbox = createInbox()
    for (let n = 0; n < 3; n += 1) await events.subscriber.subscribe('topic', inbox.listener)
    await events.publisher.publish('topic', { large: 'x'.repeat(100_000) })

    expect(new Set(await inbox.first(3)).size).toBe(1)
  })

  test('publishes to nobody without a complaint', async () => {
    await using events = await start()

    await expect(events.publisher.publish('nobody', { n: 1 })).resolves.toBeUndefined()
  })

  test('delivers nothing once it is closed, and refuses to go on', async () => {
    await using events = await start()
    const inbox = createInbox()
    const subscription = await events.subscriber.subscribe('topic', inbox.listener)
    await events.subscriber.close()

    await subscription.unsubscribe()
    await expect(events.subscriber.publish('topic', 'late')).rejects.toThrow()
    await expect(events.subscriber.subscribe('topic', inbox.listener)).rejects.toThrow()
    expect(inbox.messages).toEqual([])
  })
}

type Inbox = {
  readonly messages: unknown[]
  listener: (message: unknown) => void
  /** Resolves to the first `count` messages when they are there; rejects after five seconds. */
  first(count: number): Promise<unknown[]>
}

function createInbox(): Inbox {
  const messages: unknown[] = []
  let wake = (): void => undefined
  return {
    messages,
    listener(message) {
      messages.push(message)
      wake()
    },
    async first(count) {
      const deadline = AbortSignal.timeout(5_000)
      while (messages.length < count) {
        await new Promise<void>((resolve, reject) => {
          wake = resolve
          deadline.addEventListener('abort', () => reject(new Error(`${messages.length} of ${count} messages came`)))
        })
      }
      return messages.slice(0, count)
    },
  }
}
