import { setImmediate as turn } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { BadUserInputError, NotFoundError } from '../../../src/lib/errors.ts'
import { newId } from '../../../src/lib/ids.ts'
import type { WorkspaceFeedItem } from '../../../src/features/tasks/streams/stream-items.ts'
import { feedCursor, taskCursor } from '../../../src/features/tasks/streams/task-cursor.ts'
import type { FeedFilter } from '../../../src/features/tasks/streams/workspace-feed.ts'
import { startTestDatabase, type TestDatabase } from '../../support/test-database.ts'
import { seededRandom } from './streams-factory.ts'
import { inTime, losing, readUntil, startStreams, type StreamHarness } from './streams-harness.ts'

let db: TestDatabase
beforeAll(async () => {
  db = await startTestDatabase()
})
afterAll(() => db[Symbol.asyncDispose]())

const isCaughtUp = (item: WorkspaceFeedItem): boolean => item.kind === 'CaughtUp'
const isChange = (item: WorkspaceFeedItem): boolean => item.kind === 'TaskChanged'

function openFeed({ feeds, fixture }: StreamHarness, after: string | null = null, filter: FeedFilter = {}) {
  return feeds.open(fixture.viewer, { workspaceId: fixture.workspaceId, after, filter })
}

test('without a cursor begins now', async () => {
  await using harness = await startStreams({ db })
  const { fixture } = harness
  await fixture.submit()
  const feed = await openFeed(harness)
  const start = await readUntil(feed, isCaughtUp)
  const taskId = await fixture.submit()
  await fixture.claim()
  const live = [...(await readUntil(feed, isChange)), ...(await readUntil(feed, isChange))]
  await feed.return()

  expect(start).toEqual([{ kind: 'CaughtUp', cursor: feedCursor(fixture.workspaceId, 1) }])
  expect(live).toMatchObject([
    {
      kind: 'TaskChanged',
      cursor: feedCursor(fixture.workspaceId, 2),
      event: { seq: 2, type: 'CREATED', task: { id: taskId, status: 'QUEUED', createdAt: expect.any(Date) } },
    },
    { kind: 'TaskChanged', cursor: feedCursor(fixture.workspaceId, 3), event: { seq: 3, type: 'STARTED' } },
  ])
})

test('with a cursor gives what came after it, with the tasks as they are now', async () => {
  await using harness = await startStreams({ db })
  const { fixture } = harness
  const taskId = await fixture.submit()
  const second = await fixture.submit()
  await fixture.cancel(taskId)
  const feed = await openFeed(harness, feedCursor(fixture.workspaceId, 0))
  const items = await readUntil(feed, isCaughtUp)
  await feed.return()

  expect(items).toMatchObject([
    {
      kind: 'TaskChanged',
      event: { seq: 1, type: 'CREATED', status: 'QUEUED', task: { id: taskId, status: 'CANCELLED' } },
    },
    { kind: 'TaskChanged', event: { seq: 2, type: 'CREATED', task: { id: second } } },
    { kind: 'TaskChanged', event: { seq: 3, type: 'CANCELLED', task: { id: taskId } } },
    { kind: 'CaughtUp', cursor: feedCursor(fixture.workspaceId, 3) },
  ])
})

describe('a filter', () => {
  test('leaves out other agents and statuses, live and replayed', async () => {
    await using harness = await startStreams({ db })
    const { fixture } = harness
    const agentId = await fixture.addAgent()
    const filter: FeedFilter = { agentId, status: ['CANCELLED', 'RUNNING'] }
    const live = await openFeed(harness, null, filter)
    await readUntil(live, isCaughtUp)
    await fixture.submit()
    const taskId = await fixture.submit(agentId)
    await fixture.cancel(taskId)
    const seen = await readUntil(live, isChange)
    const replay = await openFeed(harness, feedCursor(fixture.workspaceId, 0), filter)
    const again = await readUntil(replay, isCaughtUp)
    await Promise.all([live.return(), replay.return()])

    const wanted = { kind: 'TaskChanged', event: { seq: 3, status: 'CANCELLED', task: { id: taskId } } }
    expect(seen).toMatchObject([wanted])
    expect(again).toMatchObject([wanted, { kind: 'CaughtUp', cursor: feedCursor(fixture.workspaceId, 3) }])
  })

  test('still moves the cursor on, which a heartbeat tells', async () => {
    await using harness = await startStreams({ db, timings: { heartbeatMs: 50 } })
    const { fixture } = harness
    const feed = await openFeed(harness, null, { status: ['FAILED'] })
    await readUntil(feed, isCaughtUp)
    await fixture.submit()
    await fixture.submit()
    const [heartbeat] = await readUntil(feed, (item) => item.kind === 'Heartbeat')
    await feed.return()

    expect(heartbeat).toEqual({
      kind: 'Heartbeat',
      cursor: feedCursor(fixture.workspaceId, 2),
      serverTime: expect.any(Date),
    })
  })
})

describe('asks for a new start', () => {
  async function readAfter(harness: StreamHarness, seq: number): Promise<WorkspaceFeedItem[]> {
    const feed = await openFeed(harness, feedCursor(harness.fixture.workspaceId, seq))
    const items = await readUntil(feed, (item) => item.kind !== 'TaskChanged')
    await feed.return()
    return items
  }

  test('when the events after the cursor are older than 30 days', async () => {
    await using harness = await startStreams({ db })
    const old = await harness.fixture.submit()
    await harness.fixture.submit()
    const at = new Date(Date.now() - 30 * 24 * 60 * 60 * 1_000 - 1_000)
    await db.prisma.taskEvent.updateMany({ where: { taskId: old }, data: { at } })

    expect(await readAfter(harness, 0)).toMatchObject([{ kind: 'ResyncRequired' }])
    // What was old has been seen with this one.
    expect(await readAfter(harness, 1)).toMatchObject([{ kind: 'TaskChanged' }, { kind: 'CaughtUp' }])
  })

  test('when events after the cursor are gone', async () => {
    await using harness = await startStreams({ db })
    const gone = await harness.fixture.submit()
    await harness.fixture.submit()
    await db.prisma.taskEvent.deleteMany({ where: { taskId: gone } })

    expect(await readAfter(harness, 0)).toMatchObject([{ kind: 'ResyncRequired' }])
    expect(await readAfter(harness, 1)).toMatchObject([{ kind: 'TaskChanged' }, { kind: 'CaughtUp' }])
  })

  test('when the workspace is behind the cursor', async () => {
    await using harness = await startStreams({ db })
    await harness.fixture.submit()

    expect(await readAfter(harness, 2)).toMatchObject([{ kind: 'ResyncRequired' }])
    expect(harness.subscriptions()).toBe(0)
  })
})

test.each([
  ['nonsense', () => 'nonsense'],
  ['that of another workspace', () => feedCursor(newId(), 1)],
  ["a task's", () => taskCursor(newId(), { version: 1, segment: 0, offset: 0 })],
])('refuses a cursor that is %s', async (_what, forge) => {
  await using harness = await startStreams({ db })

  await expect(openFeed(harness, forge())).rejects.toThrow(BadUserInputError)
})

test('a foreign workspace looks like a missing one', async () => {
  await using harness = await startStreams({ db })
  await using other = await startStreams({ db })
  const open = (workspaceId: string) => harness.feeds.open(harness.fixture.viewer, { workspaceId, after: null })

  await expect(open(other.fixture.workspaceId)).rejects.toThrow(new NotFoundError('workspace'))
  await expect(open(newId())).rejects.toThrow(new NotFoundError('workspace'))
  expect(harness.subscriptions()).toBe(0)
})

test('a stop of the server is an error, not the end', async () => {
  await using harness = await startStreams({ db })
  const feed = await openFeed(harness)
  await readUntil(feed, isCaughtUp)
  const next = feed.next()
  await harness.feeds.close()

  await expect(next).rejects.toMatchObject({ code: 'SERVICE_UNAVAILABLE' })
})

test.each<[string, number, number]>([
  ['nothing is lost', 1, 0],
  ['some messages are lost', 2, 0.3],
  ['all messages are lost', 3, 1],
])('is free of gaps and repetitions for readers that come and go while %s', async (_what, seed, rate) => {
  const isLost = seededRandom(seed)
  await using harness = await startStreams({
    db,
    ...losing(() => isLost() < rate),
    timings: { headPollMs: 30, reorderMs: 5 },
    maxQueuedSignals: 20,
  })
  const { fixture } = harness
  const tasks = 40
  const readers = Array.from({ length: 4 }, (_, index) => readFeed(harness, tasks * 2, seededRandom(seed * 10 + index)))
  await Promise.all(
    Array.from({ length: tasks }, async () => {
      await turn()
      await fixture.cancel(await fixture.submit())
    }),
  )

  for (const seqs of await Promise.all(readers)) {
    expect(seqs).toEqual(Array.from({ length: tasks * 2 }, (_, index) => index + 1))
  }
})

/** The numbers of the first `count` events, read with interruptions. */
async function readFeed(harness: StreamHarness, count: number, random: () => number): Promise<number[]> {
  const seqs: number[] = []
  let cursor = feedCursor(harness.fixture.workspaceId, 0)
  while (seqs.length < count) {
    const feed = await openFeed(harness, cursor)
    for (let isLeaving = false; !isLeaving && seqs.length < count; isLeaving = random() < 0.05) {
      const next = await inTime(feed.next(), () => `event ${seqs.length + 1}`)
      if (next.done === true || next.value.kind === 'ResyncRequired') throw new Error('the feed ended')
      cursor = next.value.cursor
      if (next.value.kind === 'TaskChanged') seqs.push(next.value.event.seq)
    }
    await feed.return()
  }
  return seqs
}
