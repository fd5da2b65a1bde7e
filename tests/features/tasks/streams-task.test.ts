import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { BadUserInputError, NotFoundError } from '../../../src/lib/errors.ts'
import { newId } from '../../../src/lib/ids.ts'
import type { TaskStreamItem } from '../../../src/features/tasks/streams/stream-items.ts'
import { taskCursor } from '../../../src/features/tasks/streams/task-cursor.ts'
import { startTestDatabase, type TestDatabase } from '../../support/test-database.ts'
import { inTime, losing, readUntil, startStreams, type StreamHarness } from './streams-harness.ts'

let db: TestDatabase
beforeAll(async () => {
  db = await startTestDatabase()
})
afterAll(() => db[Symbol.asyncDispose]())

const kinds = (items: readonly TaskStreamItem[]): string[] => items.map((item) => item.kind)
const text = (items: readonly TaskStreamItem[]): string =>
  items.map((item) => (item.kind === 'OutputDelta' ? item.text : '')).join('')
const isCaughtUp = (item: TaskStreamItem): boolean => item.kind === 'CaughtUp'
const isDelta = (item: TaskStreamItem): boolean => item.kind === 'OutputDelta'

function cursorOf(item: TaskStreamItem | undefined): string {
  if (item === undefined || item.kind === 'ResyncRequired') throw new Error('there is no cursor')
  return item.cursor
}

/** A task that runs and has said `texts`, each in a segment of its own. */
async function startRun(harness: StreamHarness, ...texts: string[]) {
  const { fixture, writer, streams } = harness
  const taskId = await fixture.submit()
  const run = await fixture.claim()
  const output = writer.open({ ...run, taskId, attempt: 1, onStale: () => undefined })
  const stream = await streams.open(fixture.viewer, { taskId, after: null })
  for (const [index, said] of texts.entries()) {
    output.begin(`model-${index + 1}`, index === 0 ? null : `model-${index} broke`)
    output.append(said)
    await readUntil(stream, isDelta)
  }
  await stream.return()
  const open = (after: string | null) => streams.open(fixture.viewer, { taskId, after })
  return { taskId, run, output, open }
}

describe('without a cursor', () => {
  test('begins with all there is, then goes on live, and ends with the terminal status', async () => {
    await using harness = await startStreams({ db })
    const { output, open, run } = await startRun(harness, 'hello')
    const stream = await open(null)
    const start = await readUntil(stream, isCaughtUp)
    output.append(' world')
    const live = await readUntil(stream, isDelta)
    await harness.fixture.end(run, 'SUCCEEDED', await output.finish())
    const end = await readUntil(stream)

    expect(start).toMatchObject([
      { kind: 'TaskSnapshot', task: { status: 'RUNNING' }, output: 'hello' },
      { kind: 'CaughtUp' },
    ])
    expect(live).toMatchObject([{ kind: 'OutputDelta', attempt: 1, segment: 1, offset: 5, text: ' world' }])
    expect(end).toMatchObject([{ kind: 'TaskChanged', event: { type: 'SUCCEEDED', task: { status: 'SUCCEEDED' } } }])
  })

  test('gives the whole of an ended task, and ends', async () => {
    await using harness = await startStreams({ db })
    const { output, open, run } = await startRun(harness, 'broken', 'whole')
    await harness.fixture.end(run, 'FAILED', await output.finish())

    const items = await readUntil(await open(null))
    expect(items).toMatchObject([
      { kind: 'TaskSnapshot', task: { status: 'FAILED' }, output: 'whole' },
      { kind: 'CaughtUp', cursor: cursorOf(items[0]) },
    ])
  })

  test('gives a task that has said nothing', async () => {
    await using harness = await startStreams({ db })
    const taskId = await harness.fixture.submit()
    const stream = await harness.streams.open(harness.fixture.viewer, { taskId, after: null })
    const start = await readUntil(stream, isCaughtUp)
    await harness.fixture.cancel(taskId)

    expect(start).toMatchObject([{ kind: 'TaskSnapshot', output: '' }, { kind: 'CaughtUp' }])
    expect(await readUntil(stream)).toMatchObject([{ kind: 'TaskChanged', event: { type: 'CANCELLED' } }])
  })
})

describe('with a cursor', () => {
  test('goes on inside of a chunk', async () => {
    await using harness = await startStreams({ db })
    const { taskId, open } = await startRun(harness, 'hello world')
    const stream = await open(taskCursor(taskId, { version: 2, segment: 1, offset: 8 }))
    const items = await readUntil(stream, isCaughtUp)
    await stream.return()

    expect(items).toMatchObject([{ kind: 'OutputDelta', offset: 8, text: 'rld' }, { kind: 'CaughtUp' }])
  })

  test('gives events, then the text, then the terminal event, and ends', async () => {
    await using harness = await startStreams({ db })
    const { taskId, output, open, run } = await startRun(harness, 'hello world')
    await harness.fixture.end(run, 'SUCCEEDED', await output.finish())
    const items = await readUntil(await open(taskCursor(taskId, { version: 0, segment: 0, offset: 0 })))

    expect(items).toMatchObject([
      { kind: 'TaskChanged', event: { type: 'CREATED', version: 1, task: { id: taskId, status: 'SUCCEEDED' } } },
      { kind: 'TaskChanged', event: { type: 'STARTED', version: 2 } },
      { kind: 'OutputDelta', offset: 0, text: 'hello world' },
      { kind: 'TaskChanged', event: { type: 'SUCCEEDED', version: 3 } },
      { kind: 'CaughtUp' },
    ])
  })

  test('resets when the text that was seen has been dropped', async () => {
    await using harness = await startStreams({ db })
    const { taskId, open } = await startRun(harness, 'broken', 'whole')
    const stream = await open(taskCursor(taskId, { version: 2, segment: 1, offset: 6 }))
    const items = await readUntil(stream, isCaughtUp)
    await stream.return()

    expect(items).toMatchObject([
      { kind: 'OutputReset', attempt: 1, segment: 2, model: 'model-2', reason: 'model-1 broke' },
      { kind: 'OutputDelta', segment: 2, offset: 0, text: 'whole' },
      { kind: 'CaughtUp' },
    ])
  })

  test('says that there is nothing new of an ended task, and ends', async () => {
    await using harness = await startStreams({ db })
    const { output, open, run } = await startRun(harness, 'whole')
    await harness.fixture.end(run, 'SUCCEEDED', await output.finish())
    const [last] = (await readUntil(await open(null))).slice(-1)

    expect(await readUntil(await open(cursorOf(last)))).toEqual([last])
  })

  test('follows a task that was revived after its end', async () => {
    await using harness = await startStreams({ db })
    const { taskId, output, open, run } = await startRun(harness, 'whole')
    await harness.fixture.end(run, 'FAILED', await output.finish())
    const [last] = (await readUntil(await open(null))).slice(-1)
    // The transition belongs to a later feature; its rows are what a reader sees.
    await db.prisma.task.update({
      where: { id: taskId },
      data: { status: 'QUEUED', version: 4, finishedAt: null, queuedAt: new Date() },
    })
    await db.prisma.workspaceCounter.update({
      where: { workspaceId: harness.fixture.workspaceId },
      data: { feedSeq: 4 },
    })
    const event = { taskId, version: 4, workspaceId: harness.fixture.workspaceId, seq: 4, attempt: 1, at: new Date() }
    await db.prisma.taskEvent.create({ data: { ...event, type: 'REVIVED', status: 'QUEUED' } })
    const again = await harness.fixture.claim()
    const stream = await open(cursorOf(last))
    const replay = await readUntil(stream, isCaughtUp)
    const rerun = harness.writer.open({ ...again, taskId, attempt: 2, onStale: () => undefined })
    rerun.begin('model-2', 'It was tried again.')
    rerun.append('better')
    await harness.fixture.end(again, 'SUCCEEDED', await rerun.finish())
    const live = await readUntil(stream)

    expect(kinds(replay)).toEqual(['TaskChanged', 'TaskChanged', 'CaughtUp'])
    expect(kinds(live)).toEqual(['OutputReset', 'OutputDelta', 'TaskChanged'])
    expect(text(live)).toBe('better')
  })

  test('reads long histories and long texts in pages', async () => {
    await using harness = await startStreams({ db })
    const { taskId, output, open } = await startRun(harness, '-')
    const said = 'abcdefg😀'.repeat(40_000)
    const stream = await open(null)
    await readUntil(stream, isCaughtUp)
    output.append(said)
    for (let length = 1; length < said.length + 1;) {
      const [item] = await readUntil(stream, isDelta)
      if (item?.kind === 'OutputDelta') length = item.offset + item.text.length
    }
    await stream.return()
    await db.query({ name: 'test_history', text: 'UPDATE task SET version = 1202 WHERE id = $1' }, [taskId])
    await db.query(
      {
        name: 'test_events',
        text: `INSERT INTO task_event (task_id, version, workspace_id, seq, type, status, attempt, at)
               SELECT $1, v, $2, v, 'PRIORITY_CHANGED', 'RUNNING', 1, now() FROM generate_series(3, 1202) AS v`,
      },
      [taskId, harness.fixture.workspaceId],
    )
    const replay = await open(taskCursor(taskId, { version: 0, segment: 0, offset: 0 }))
    const items = await readUntil(replay, isCaughtUp)
    await replay.return()

    expect(text(items)).toBe(`-${said}`)
    expect(items.flatMap((item) => (item.kind === 'TaskChanged' ? [item.event.version] : []))).toEqual(
      Array.from({ length: 1202 }, (_, index) => index + 1),
    )
    for (const item of items) if (item.kind === 'OutputDelta') expect(item.text.length).toBeLessThanOrEqual(64 * 1024)
  })

  test.each([
    ['nonsense', () => 'nonsense'],
    ['that of another task', () => taskCursor(newId(), { version: 1, segment: 0, offset: 0 })],
  ])('is refused when it is %s', async (_what, forge) => {
    await using harness = await startStreams({ db })
    const taskId = await harness.fixture.submit()

    await expect(harness.streams.open(harness.fixture.viewer, { taskId, after: forge() })).rejects.toThrow(
      BadUserInputError,
    )
    expect(harness.subscriptions()).toBe(0)
  })

  test('asks for a new start when the task is behind it', async () => {
    await using harness = await startStreams({ db })
    const taskId = await harness.fixture.submit()
    const after = taskCursor(taskId, { version: 7, segment: 1, offset: 3 })
    const items = await readUntil(await harness.streams.open(harness.fixture.viewer, { taskId, after }))

    expect(items).toMatchObject([{ kind: 'ResyncRequired' }])
  })
})

test('a foreign task looks like a missing one', async () => {
  await using harness = await startStreams({ db })
  await using other = await startStreams({ db })
  const taskId = await other.fixture.submit()
  const open = (id: string) => harness.streams.open(harness.fixture.viewer, { taskId: id, after: null })

  await expect(open(taskId)).rejects.toThrow(new NotFoundError('task'))
  await expect(open(newId())).rejects.toThrow(new NotFoundError('task'))
  expect(harness.subscriptions()).toBe(0)
})

test('readers share one subscription, which ends with the last of them, at once', async () => {
  await using harness = await startStreams({ db })
  const { open } = await startRun(harness, 'hello')
  const readers = await Promise.all(Array.from({ length: 20 }, () => open(null)))
  const waiting = readers.map(async (reader) => {
    await readUntil(reader, isCaughtUp)
    return reader.next()
  })
  expect([harness.subscriptions(), harness.streams.topicCount()]).toEqual([1, 1])
  await new Promise((resolve) => setImmediate(resolve))
  await inTime(Promise.all(readers.map((reader) => reader.return())), () => 'readers to leave', 1_000)

  expect([harness.subscriptions(), harness.streams.topicCount()]).toEqual([0, 0])
  expect(await Promise.all(waiting)).toEqual(readers.map(() => ({ done: true, value: undefined })))
})

test('a reader that never reads can leave', async () => {
  await using harness = await startStreams({ db })
  const { open } = await startRun(harness, 'hello')
  const stream = await open(null)
  await stream.return()

  expect(harness.subscriptions()).toBe(0)
})

test('gives a heartbeat with the cursor when nothing comes, and not for the polls', async () => {
  await using harness = await startStreams({ db, timings: { heartbeatMs: 60, headPollMs: 10 } })
  const { open } = await startRun(harness, 'hello')
  const stream = await open(null)
  const [snapshot] = await readUntil(stream, isCaughtUp)
  const startedMs = performance.now()
  const items = [await stream.next(), await stream.next()].map((next) => next.value)
  const elapsedMs = performance.now() - startedMs
  await stream.return()

  expect(items).toMatchObject([1, 2].map(() => ({ kind: 'Heartbeat', cursor: cursorOf(snapshot) })))
  expect(elapsedMs).toBeGreaterThan(110)
})

test('a lost last message is made up for by the next comparison of heads', async () => {
  let isLost = false
  await using harness = await startStreams({ db, timings: { headPollMs: 50 }, ...losing(() => isLost) })
  const { output, open, run } = await startRun(harness, 'hello')
  const stream = await open(null)
  await readUntil(stream, isCaughtUp)
  isLost = true
  output.append(' world')
  const missed = await readUntil(stream, isDelta)
  await harness.fixture.end(run, 'SUCCEEDED', await output.finish())

  expect(missed).toMatchObject([{ kind: 'OutputDelta', text: ' world' }])
  expect(kinds(await readUntil(stream))).toEqual(['TaskChanged'])
})

test('a reader that is too slow turns to the rows; the others notice nothing', async () => {
  await using harness = await startStreams({ db, maxQueuedSignals: 2 })
  const { output, open, run } = await startRun(harness, '0')
  const [slow, quick] = [await open(null), await open(null)]
  await readUntil(quick, isCaughtUp)
  for (let n = 1; n < 30; n += 1) {
    output.append(String(n % 10))
    await readUntil(quick, isDelta)
  }
  await harness.fixture.end(run, 'SUCCEEDED', await output.finish())
  const rest = await readUntil(slow)

  expect(text(rest)).toBe(Array.from({ length: 29 }, (_, index) => String((index + 1) % 10)).join(''))
  expect(rest.filter(isDelta).length).toBeLessThan(10)
  expect(kinds(await readUntil(quick))).toEqual(['TaskChanged'])
})

test('a stop of the server is an error, not the end', async () => {
  await using harness = await startStreams({ db })
  const { open } = await startRun(harness, 'hello')
  const stream = await open(null)
  await readUntil(stream, isCaughtUp)
  const next = stream.next()
  await harness.streams.close()

  await expect(next).rejects.toMatchObject({ code: 'SERVICE_UNAVAILABLE' })
  await expect(open(null)).rejects.toMatchObject({ code: 'SERVICE_UNAVAILABLE' })
})

test('a task that is gone ends its stream with NOT_FOUND', async () => {
  await using harness = await startStreams({ db, timings: { headPollMs: 20 } })
  const { taskId, open } = await startRun(harness, 'hello')
  const stream = await open(null)
  await readUntil(stream, isCaughtUp)
  await db.prisma.task.delete({ where: { id: taskId } })

  await expect(inTime(stream.next(), () => 'an error')).rejects.toThrow(NotFoundError)
})
