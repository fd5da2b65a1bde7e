import { afterAll, beforeAll, expect, test } from 'vitest'
import { ServiceUnavailableError, type AppError } from '../../../src/lib/errors.ts'
import type { Database } from '../../../src/platform/database/database.ts'
import { createLogger } from '../../../src/platform/logger.ts'
import {
  createOutputWriter,
  type FinishedOutput,
  type OutputLimits,
  type OutputWriter,
  type RunOutput,
} from '../../../src/features/tasks/output/output-writer.ts'
import type { ClaimedRun } from '../../../src/features/tasks/engine/task-json.ts'
import type { OutputDeltaRecord } from '../../../src/features/tasks/streams/task-messages.ts'
import { startTestDatabase, type TestDatabase } from '../../support/test-database.ts'
import { createTaskFixture, type TaskFixture } from './streams-fixture.ts'

let db: TestDatabase
let fixture: TaskFixture
beforeAll(async () => {
  db = await startTestDatabase()
  fixture = await createTaskFixture(db)
})
afterAll(() => db[Symbol.asyncDispose]())

test('writes rows first, then publishes, and hands back what is not a row yet', async () => {
  await using writer = startWriter()
  const run = await claimRun()
  const output = writer.open(run)
  output.begin('m', null)
  output.append('hello')
  await writer.published(1)
  const rowsWhenPublished = await readChunks(run)
  output.append(' world')
  await writer.published(2)
  output.append('!')
  const finished = await output.finish()

  expect(rowsWhenPublished).toEqual([[1, 0, 'hello']])
  expect(writer.deltas).toEqual([
    { taskId: run.task.id, attempt: 1, segment: 1, offset: 0, text: 'hello', model: 'm', reason: null },
    { taskId: run.task.id, attempt: 1, segment: 1, offset: 5, text: ' world', model: 'm', reason: null },
  ])
  expect(finished.segment).toEqual({ segment: 1, model: 'm', reason: null, text: 'hello world!' })
  expect(finished.tail).toMatchObject({ offset: 11, text: '!' })
  expect(await readChunks(run)).toEqual([
    [1, 0, 'hello'],
    [1, 5, ' world'],
  ])
})

test('collects what comes during a flush, for all runs in one statement', async () => {
  const statements: number[] = []
  await using writer = startWriter({
    db: watched(db, async (send, values) => {
      statements.push(Array.isArray(values[0]) ? values[0].length : 0)
      return send()
    }),
  })
  const runs = await Promise.all(Array.from({ length: 20 }, claimRun))
  const outputs = runs.map((run) => writer.open(run))
  for (const output of outputs) output.begin('m', null)
  for (const output of outputs) output.append('a')
  await Promise.resolve()
  for (const piece of ['b', 'c', 'd']) for (const output of outputs) output.append(piece)
  await writer.published(40)

  expect(statements).toEqual([20, 20])
  expect(writer.deltas.slice(20).map(({ text }) => text)).toEqual(runs.map(() => 'bcd'))
})

test('opens a segment with its first text, and drops the chunks of the one before', async () => {
  await using writer = startWriter()
  const run = await claimRun()
  const output = writer.open(run)
  output.begin('first', null)
  output.append('broken')
  await writer.published(1)
  output.begin('second', 'first broke')
  const before = await readChunks(run)
  output.append('whole')
  await writer.published(2)

  expect(before).toEqual([[1, 0, 'broken']])
  expect(await readChunks(run)).toEqual([[2, 0, 'whole']])
  expect(await readSegments(run)).toEqual([
    { segment: 1, attempt: 1, model: 'first', reason: null, length: null },
    { segment: 2, attempt: 1, model: 'second', reason: 'first broke', length: null },
  ])
})

test('goes on after the segments of earlier attempts', async () => {
  await using writer = startWriter()
  const first = await claimRun()
  const output = writer.open(first)
  output.begin('m', null)
  output.append('one')
  await writer.published(1)
  await fixture.end(first, 'RELEASED', await output.finish())
  const second = await fixture.claim()
  const again = writer.open(second)
  again.begin('m', 'again')
  again.append('two')
  await writer.published(2)

  expect(second.lastSegment).toBe(1)
  expect(await readChunks(first)).toEqual([[2, 0, 'two']])
})

test.each<[string, (run: ClaimedRun) => Promise<unknown>]>([
  ['another lease', async (run) => fixture.end(run, 'RELEASED').then(() => fixture.claim())],
  ['no lease', async (run) => fixture.end(run, 'SUCCEEDED')],
  ['a lease that has run out', async () => fixture.transitions.expireAllLeases()],
])('is refused, once, when the task has %s', async (_what, lose) => {
  await using writer = startWriter()
  const run = await claimRun()
  const output = writer.open(run)
  output.begin('m', null)
  output.append('mine')
  await writer.published(1)
  await lose(run)
  output.append('stale')
  await writer.staleRuns(1)
  output.append('staler')

  expect(await output.finish()).toEqual({ segment: null, tail: null })
  expect(writer.stale).toEqual([run.task.id])
  expect(writer.deltas.map(({ text }) => text)).toEqual(['mine'])
  expect((await readChunks(run)).map(([, , text]) => text).join('')).not.toContain('stale')
})

test('lets one stale run sink no other of the same batch', async () => {
  await using writer = startWriter()
  const [stale, live] = [await claimRun(), await claimRun()]
  await fixture.end(stale, 'SUCCEEDED')
  for (const run of [stale, live]) {
    const output = writer.open(run)
    output.begin('m', null)
    output.append('text')
  }
  await writer.published(1)

  expect(writer.deltas).toMatchObject([{ taskId: live.task.id, text: 'text' }])
  expect(writer.stale).toEqual([stale.task.id])
})

test('tries each run alone when the database refuses a batch, and gives up only the bad one', async () => {
  await using writer = startWriter()
  const runs = await Promise.all(Array.from({ length: 3 }, claimRun))
  const outputs = runs.map((run, index) => writer.open(index === 1 ? { ...run, attempt: 2 ** 31 } : run))
  for (const output of outputs) output.begin('m', null)
  for (const output of outputs) output.append('text')
  await writer.published(2)
  await writer.refusedRuns(1)
  for (const output of outputs) output.append(', more')
  await writer.published(4)

  expect(writer.deltas.map(({ taskId }) => taskId)).toEqual([0, 2, 0, 2].map((index) => runs[index]?.task.id))
  expect(writer.refused).toMatchObject([{ code: 'INTERNAL_SERVER_ERROR' }])
  expect(await outputs[1]?.finish()).toMatchObject({ segment: { text: 'text' }, tail: { offset: 0, text: 'text' } })
})

test('keeps the text while the database is away, and writes it when it is back', async () => {
  let isAway = true
  let attempts = 0
  let wasTried = (): void => undefined
  const tried = new Promise<void>((resolve) => (wasTried = resolve))
  await using writer = startWriter({
    db: watched(db, async (send) => {
      attempts += 1
      if (attempts === 3) wasTried()
      if (isAway) throw new ServiceUnavailableError('The database cannot be reached.')
      return send()
    }),
  })
  const run = await claimRun()
  const output = writer.open(run)
  output.begin('m', null)
  output.append('before ')
  await tried
  output.append('after')
  isAway = false
  await writer.published(1)

  expect(writer.deltas.map(({ text }) => text).join('')).toBe('before after')
  expect(await readChunks(run)).toEqual([[1, 0, 'before after']])
  expect(writer.logged.filter(({ level }) => level === 'warn')).toHaveLength(1)
})

test('hands everything back when the database stays away', async () => {
  await using writer = startWriter({
    db: watched(db, async () => {
      throw new ServiceUnavailableError('The database cannot be reached.')
    }),
  })
  const output = writer.open(await claimRun())
  output.begin('m', null)
  output.append('text')

  expect(await output.finish()).toMatchObject({ segment: { text: 'text' }, tail: { offset: 0, text: 'text' } })
})

test('writes the same rows when the answer to a commit was lost', async () => {
  let isLost = true
  await using writer = startWriter({
    db: watched(db, async (send) => {
      const rows = await send()
      if (!isLost) return rows
      isLost = false
      throw new ServiceUnavailableError('The database cannot be reached.')
    }),
  })
  const run = await claimRun()
  const output = writer.open(run)
  const long = 'x'.repeat(20_000)
  output.begin('m', null)
  output.append(long)
  output.append(' and more')
  await writer.published(1)
  await output.finish()

  const chunks = await readChunks(run)
  expect(chunks.map(([, offset]) => offset)).toEqual([0, 16 * 1024])
  expect(chunks.map(([, , text]) => text).join('')).toBe(`${long} and more`)
})

test('stores what Postgres refuses as U+FFFD, and splits no pair', async () => {
  await using writer = startWriter()
  const run = await claimRun()
  const output = writer.open(run)
  output.begin('m', null)
  output.append('a\0\uD83D')
  await writer.published(1)
  output.append('\uDE00\uDE00"\\{NULL}\n')
  await writer.published(2)
  output.append(`${'y'.repeat(16 * 1024 - 1)}😀`)
  await writer.published(3)
  const { segment } = await output.finish()

  const chunks = await readChunks(run)
  expect(chunks.map(([, , text]) => text).join('')).toBe(segment?.text)
  expect(chunks.slice(0, 2)).toEqual([
    [1, 0, 'a\uFFFD'],
    [1, 2, '😀\uFFFD"\\{NULL}\n'],
  ])
  expect(chunks.slice(2).map(([, , text]) => text.length)).toEqual([16 * 1024 - 1, 2])
})

test('refuses text beyond its bounds, and keeps what came before', async () => {
  await using writer = startWriter({ limits: { maxRunUnits: 10 } })
  const output = writer.open(await claimRun())
  output.begin('m', null)
  output.append('0123456789')
  await writer.published(1)
  output.append('!')
  output.append('?')

  expect(writer.refused).toMatchObject([{ code: 'MODEL_FAILED' }])
  expect(await output.finish()).toMatchObject({ segment: { text: '0123456789!' }, tail: { text: '!' } })
})

test('bounds the text of all runs together, and gives room back when a run is over', async () => {
  await using writer = startWriter({ limits: { maxTotalUnits: 10 } })
  const outputs = (await Promise.all(Array.from({ length: 3 }, claimRun))).map((run) => writer.open(run))
  for (const output of outputs) output.begin('m', null)
  outputs[0]?.append('12345678')
  outputs[1]?.append('abc')
  await outputs[0]?.finish()
  await outputs[1]?.finish()
  outputs[2]?.append('12345678')

  expect(writer.refused).toHaveLength(1)
  expect((await outputs[2]?.finish())?.segment?.text).toBe('12345678')
})

test('finishes with what the flush in flight leaves over', async () => {
  const finished: Promise<FinishedOutput>[] = []
  let onFlush = (): void => undefined
  await using writer = startWriter({
    db: watched(db, async (send) => {
      const rows = send()
      await Promise.resolve()
      onFlush()
      return rows
    }),
  })
  const run = await claimRun()
  const output = writer.open(run)
  onFlush = () => {
    output.append(', late')
    finished.push(output.finish())
  }
  output.begin('m', null)
  output.append('in flight')
  await writer.published(1)

  expect(await Promise.all(finished)).toMatchObject([
    { segment: { text: 'in flight, late' }, tail: { offset: 9, text: ', late' } },
  ])
  expect(await readChunks(run)).toEqual([[1, 0, 'in flight']])
})

test('waits for the flush in flight, and writes no more once closed', async () => {
  const writer = startWriter()
  const run = await claimRun()
  const output = writer.open(run)
  output.begin('m', null)
  output.append('in flight')
  await Promise.resolve()
  await Promise.resolve()
  await writer.close()
  output.append(', late')

  expect(await readChunks(run)).toEqual([[1, 0, 'in flight']])
  expect((await output.finish()).tail).toMatchObject({ offset: 9, text: ', late' })
})

type TestWriter = AsyncDisposable &
  Pick<OutputWriter, 'close'> & {
    open(run: ClaimedRun & { attempt?: number }): RunOutput
    readonly deltas: OutputDeltaRecord[]
    readonly stale: string[]
    readonly refused: AppError[]
    readonly logged: { level: string }[]
    /** Each resolves when there are as many; rejects after five seconds. */
    published(count: number): Promise<void>
    staleRuns(count: number): Promise<void>
    refusedRuns(count: number): Promise<void>
  }

function startWriter(options: { db?: Database; limits?: Partial<OutputLimits> } = {}): TestWriter {
  const deltas: OutputDeltaRecord[] = []
  const stale: string[] = []
  const refused: AppError[] = []
  const logged: { level: string }[] = []
  const waiters = new Set<() => void>()
  const changed = (): void => waiters.forEach((check) => check())
  const writer = createOutputWriter({
    db: options.db ?? db,
    publisher: {
      async publishOutput(published) {
        deltas.push(...published)
        changed()
      },
    },
    logger: createLogger({ level: 'info', destination: { write: (line) => void logged.push(JSON.parse(line)) } }),
    random: () => 0.1,
    ...(options.limits === undefined ? {} : { limits: options.limits }),
  })

  function until(list: readonly unknown[], count: number, what: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${list.length} of ${count} ${what}`)), 20_000)
      const check = (): void => {
        if (list.length < count) return
        clearTimeout(timer)
        waiters.delete(check)
        resolve()
      }
      waiters.add(check)
      check()
    })
  }

  return {
    open: ({ task, leaseToken, lastSegment, attempt = task.attempt }) =>
      writer.open({
        taskId: task.id,
        leaseToken,
        attempt,
        lastSegment,
        onStale: () => {
          stale.push(task.id)
          changed()
        },
        onRefused: (error) => {
          refused.push(error)
          changed()
        },
      }),
    deltas,
    stale,
    refused,
    logged,
    published: (count) => until(deltas, count, 'deltas published'),
    staleRuns: (count) => until(stale, count, 'runs stale'),
    refusedRuns: (count) => until(refused, count, 'runs refused'),
    close: () => writer.close(),
    [Symbol.asyncDispose]: () => writer.close(),
  }
}

/** The database, with a hand on the writer's statement. */
function watched(
  real: Database,
  hand: <Row>(send: () => Promise<Row[]>, values: readonly unknown[]) => Promise<Row[]>,
): Database {
  return {
    ...real,
    query: (statement, values, options) => {
      const send = () => real.query<never>(statement, values, options)
      return statement.name === 'output_write' ? hand(send, values) : send()
    },
  }
}

async function claimRun(): Promise<ClaimedRun> {
  await fixture.submit()
  return fixture.claim()
}

async function readChunks({ task }: ClaimedRun): Promise<[segment: number, offset: number, text: string][]> {
  const rows = await db.prisma.outputChunk.findMany({
    where: { taskId: task.id },
    orderBy: [{ segment: 'asc' }, { offset: 'asc' }],
  })
  for (const { length, text } of rows) expect(length).toBe(text.length)
  return rows.map(({ segment, offset, text }) => [segment, offset, text])
}

async function readSegments({ task }: ClaimedRun) {
  return db.prisma.outputSegment.findMany({
    where: { taskId: task.id },
    orderBy: { segment: 'asc' },
    select: { segment: true, attempt: true, model: true, reason: true, length: true },
  })
}
