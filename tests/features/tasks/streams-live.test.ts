import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { createInProcessEvents } from '../../../src/platform/events/in-process.ts'
import type { Database } from '../../../src/platform/database/database.ts'
import { createLogger } from '../../../src/platform/logger.ts'
import { createTopicHub, type TopicSubscriber } from '../../../src/features/tasks/streams/topic-hub.ts'
import { createTaskPublisher } from '../../../src/features/tasks/streams/task-publisher.ts'
import { parseTaskMessage } from '../../../src/features/tasks/streams/task-message-codec.ts'
import { taskTopic, workspaceTopic, type TaskMessage } from '../../../src/features/tasks/streams/task-messages.ts'
import { startTestDatabase, type TestDatabase } from '../../support/test-database.ts'
import { makeTask, makeTransition } from './streams-factory.ts'
import { readUntil, startStreams } from './streams-harness.ts'

let db: TestDatabase
let reads = 0
beforeAll(async () => {
  db = await startTestDatabase({
    onStatement: (sql) => {
      if (sql.includes('json_agg')) reads += 1
    },
  })
})
afterAll(() => db[Symbol.asyncDispose]())
beforeEach(() => {
  reads = 0
})

test('what comes live costs no query', async () => {
  await using harness = await startStreams({ db })
  const { fixture, streams, feeds, writer } = harness
  const taskId = await fixture.submit()
  const stream = await streams.open(fixture.viewer, { taskId, after: null })
  const feed = await feeds.open(fixture.viewer, { workspaceId: fixture.workspaceId, after: null })
  const run = await fixture.claim()
  const output = writer.open({ ...run, taskId, attempt: 1, onStale: () => undefined })
  const task = readUntil(stream)
  const changes = readUntil(feed, (item) => item.kind === 'TaskChanged' && item.event.status === 'SUCCEEDED')
  for (const text of 'over and over') {
    output.begin('m', 'again')
    output.append(text)
  }
  await fixture.end(run, 'SUCCEEDED', await output.finish())
  await Promise.all([task, changes])
  await feed.return()

  expect(reads).toBe(2)
})

test('what is published while the rows are read comes after them, once', async () => {
  let onRead = async (): Promise<void> => undefined
  const watched: Database = {
    ...db,
    async query(statement, values, options) {
      const rows = await db.query<never>(statement, values, options)
      if (statement.name === 'task_stream_read') await onRead()
      return rows
    },
  }
  await using harness = await startStreams({ db: watched, timings: { headPollMs: 60_000 } })
  const { fixture, streams, writer } = harness
  const taskId = await fixture.submit()
  const run = await fixture.claim()
  const output = writer.open({ ...run, taskId, attempt: 1, onStale: () => undefined })
  output.begin('m', null)
  const witness = await streams.open(fixture.viewer, { taskId, after: null })
  onRead = async () => {
    output.append('meanwhile')
    await readUntil(witness, (item) => item.kind === 'OutputDelta')
    await fixture.cancel(taskId)
  }
  const stream = await streams.open(fixture.viewer, { taskId, after: null })
  const items = await readUntil(stream, (item) => item.kind === 'TaskChanged')
  await Promise.all([stream.return(), witness.return()])

  expect(items).toMatchObject([
    { kind: 'TaskSnapshot', output: '' },
    { kind: 'CaughtUp' },
    { kind: 'OutputDelta', text: 'meanwhile' },
    { kind: 'TaskChanged', event: { type: 'CANCEL_REQUESTED' } },
  ])
})

test('messages that overtake each other cost no query either', async () => {
  const kept: (() => Promise<void>)[] = []
  let isKeeping = false
  await using harness = await startStreams({
    db,
    timings: { reorderMs: 2_000 },
    carry: async (send) => {
      if (isKeeping) kept.push(send)
      else await send()
    },
  })
  const { fixture, feeds } = harness
  const feed = await feeds.open(fixture.viewer, { workspaceId: fixture.workspaceId, after: null })
  isKeeping = true
  for (let n = 0; n < 10; n += 1) await fixture.submit()
  const items = readUntil(feed, (item) => item.kind === 'TaskChanged' && item.event.seq === 10)
  for (const send of kept.toReversed()) await send()

  expect((await items).flatMap((item) => (item.kind === 'TaskChanged' ? [item.event.seq] : []))).toEqual(
    Array.from({ length: 10 }, (_, index) => index + 1),
  )
  await feed.return()
  expect(reads).toBe(1)
})

test('a message that nobody understands makes readers turn to the rows', async () => {
  const hub = startHub()
  const reader = await hub.attach('a')
  await hub.events.publish('topic:a', { kind: 'news of the future' })
  await hub.events.publish('topic:a', { kind: 'delta', delta: { nothing: 'of ours' } })

  expect([await take(reader), await take(reader)]).toEqual([{ kind: 'lost' }, { kind: 'lost' }])
  await hub.close()
})

test('a full queue gives way to one word of it, and goes on', async () => {
  const hub = startHub({ maxQueuedSignals: 2 })
  const [slow, quick] = [await hub.attach('a'), await hub.attach('a')]
  const message = { kind: 'event', transition: makeTransition(makeTask()) }
  for (let n = 0; n < 3; n += 1) {
    await hub.events.publish('topic:a', message)
    expect((await take(quick)).kind).toBe('message')
  }
  await hub.events.publish('topic:a', message)

  expect([(await take(slow)).kind, (await take(slow)).kind]).toEqual(['lost', 'message'])
  await hub.close()
})

test('heads are compared while there are topics, in one query for all, also after a failure', async () => {
  const asked: string[][] = []
  const hub = startHub({
    headPollMs: 5,
    readHeads: async (keys) => {
      asked.push([...keys].toSorted())
      if (asked.length === 1) throw new Error('the database is away')
      return new Map([['a', 7]])
    },
  })
  const [a, b] = [await hub.attach('a'), await hub.attach('b')]

  expect([await take(a), await take(b)]).toEqual([{ kind: 'head', head: 7 }, { kind: 'lost' }])
  expect(asked.slice(0, 2)).toEqual([
    ['a', 'b'],
    ['a', 'b'],
  ])
  await Promise.all([a.detach(), b.detach()])
  const before = asked.length
  const c = await hub.attach('c')
  await take(c)
  expect(asked.slice(before).flat()).not.toContain('a')
  await hub.close()
})

test('who cannot be attached hears why, and leaves nothing behind', async () => {
  const hub = startHub()
  await hub.events.close()

  await expect(hub.attach('a')).rejects.toThrow('closed')
  expect(hub.topicCount()).toBe(0)
  await hub.close()
})

test('whoever comes while the last one leaves is attached', async () => {
  const hub = startHub()
  const first = await hub.attach('a')
  const [, second] = await Promise.all([first.detach(), hub.attach('a')])
  await hub.events.publish('topic:a', { kind: 'event', transition: makeTransition(makeTask()) })

  expect((await take(second)).kind).toBe('message')
  await second.detach()
  expect(hub.topicCount()).toBe(0)
  await hub.close()
})

test('messages come back as they went, dates included', async () => {
  const events = createInProcessEvents()
  const publisher = createTaskPublisher({ events, logger: createLogger({ level: 'silent' }) })
  const task = makeTask({ name: 'ünïcode 😀', runAt: new Date('2027-01-01T00:00:00Z'), errorRetryable: false })
  const transition = makeTransition(task, { segment: 1, length: 2 })
  const delta = { taskId: task.id, attempt: 1, segment: 1, offset: 0, text: '\uD83D', model: null, reason: null }
  const received: unknown[] = []
  for (const topic of [taskTopic(task.id), workspaceTopic(task.workspaceId)])
    await events.subscribe(topic, (json) => received.push(parseTaskMessage(json)))
  await publisher.publishOutput([delta])
  await publisher.publish([transition])

  expect(received).toStrictEqual([
    { kind: 'delta', delta },
    { kind: 'event', transition },
    { kind: 'event', transition },
  ])
  await events.close()
})

test('a publisher that fails never fails its caller, and logs it once', async () => {
  const lines: { level: string; lost?: number }[] = []
  const events = createInProcessEvents()
  let isBroken = true
  const publish = async (): Promise<void> => {
    if (isBroken) throw new Error('the line is cut')
  }
  const publisher = createTaskPublisher({
    events: { ...events, publish },
    logger: createLogger({ level: 'info', destination: { write: (line) => void lines.push(JSON.parse(line)) } }),
  })
  const transitions = [makeTransition(makeTask()), makeTransition(makeTask())]
  await publisher.publish(transitions)
  await publisher.publish(transitions)
  isBroken = false
  await publisher.publish(transitions)

  expect(lines).toMatchObject([{ level: 'warn' }, { level: 'info', lost: 8 }])
})

function startHub(
  options: {
    maxQueuedSignals?: number
    headPollMs?: number
    readHeads?: (keys: readonly string[]) => Promise<ReadonlyMap<string, number>>
  } = {},
) {
  const events = createInProcessEvents()
  const hub = createTopicHub({
    events,
    topicOf: (key) => `topic:${key}`,
    parse: parseTaskMessage,
    readHeads: async () => new Map<string, number>(),
    logger: createLogger({ level: 'silent' }),
    ...options,
  })
  return { ...hub, events }
}

async function take(reader: TopicSubscriber<TaskMessage, number>) {
  const taken = await reader.signals.take({ timeoutMs: 5_000, signal: new AbortController().signal })
  if (taken.kind !== 'item') throw new Error(`there is no signal: ${taken.kind}`)
  return taken.item
}
