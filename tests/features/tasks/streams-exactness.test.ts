import { setImmediate as turn } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { TaskStreamItem } from '../../../src/features/tasks/streams/stream-items.ts'
import type { RunOutput } from '../../../src/features/tasks/output/output-writer.ts'
import { terminalStatuses } from '../../../src/features/tasks/streams/task-messages.ts'
import { findPostgres, startPostgresServer } from '../../support/postgres-server.ts'
import { startTestDatabase, type TestDatabase } from '../../support/test-database.ts'
import { seededRandom } from './streams-factory.ts'
import { inTime, losing, startStreams, type HarnessOptions, type StreamHarness } from './streams-harness.ts'

const pieces = ['a', 'word ', 'é', '😀', '\uD83D', '\uDE00', '\0', '"\\{}', '\n', 'x'.repeat(3_000)]

const embedded = (): Promise<TestDatabase> => startTestDatabase()

// There transactions really run side by side.
const programs = findPostgres()
async function onServer(): Promise<TestDatabase> {
  const server = await startPostgresServer(programs ?? '')
  const db = await startTestDatabase({ url: await server.createDatabase() })
  return {
    ...db,
    async [Symbol.asyncDispose]() {
      await db[Symbol.asyncDispose]()
      await server[Symbol.asyncDispose]()
    },
  }
}

describe('embedded', () => exactness(embedded))
describe.skipIf(programs === null)('on a PostgreSQL server', () => exactness(onServer))

/*
 * Tasks write random text over several attempts and model runs, are released, retried, lost and cancelled, while readers come and go at
 * cursors of any age. Each reader must end up with exactly what the task has, and have seen every event once.
 */
function exactness(startDatabase: () => Promise<TestDatabase>): void {
  let db: TestDatabase
  beforeAll(async () => {
    db = await startDatabase()
  })
  afterAll(() => db[Symbol.asyncDispose]())

  test.each<[string, number, Omit<HarnessOptions, 'db'>]>([
    ['nothing is lost', 1, {}],
    ['nothing is lost, again', 2, {}],
    ['a fifth of the messages is lost', 3, lossy(3, 0.2)],
    ['most messages are lost', 4, lossy(4, 0.9)],
    ['all messages are lost', 5, lossy(5, 1)],
    ['queues are tiny', 6, { maxQueuedSignals: 2 }],
    ['queues are tiny and messages are lost', 7, { ...lossy(7, 0.3), maxQueuedSignals: 2 }],
  ])('every reader has the exact text and every event: %s', async (_what, seed, options) => {
    await using harness = await startStreams({ db, ...options })
    const tasks = Array.from({ length: 3 }, async (_, index) => {
      const random = seededRandom(seed * 100 + index)
      const agentId = await harness.fixture.addAgent()
      const taskId = await harness.fixture.submit(agentId)
      const readers = Array.from({ length: 4 }, (_each, reader) =>
        readAll(harness, taskId, seededRandom(seed * 1_000 + index * 10 + reader)),
      )
      await writeTask(harness, { taskId, agentId }, random)
      const truth = await db.prisma.task.findUniqueOrThrow({ where: { id: taskId }, include: { content: true } })
      for (const reader of await Promise.all(readers)) {
        expect(reader.text).toBe(truth.content?.output ?? '')
        expect(reader.version).toBe(truth.version)
      }
      return truth.content?.output?.length ?? 0
    })

    // A run in which nobody says anything would prove nothing.
    expect(Math.max(...(await Promise.all(tasks)))).toBeGreaterThan(0)
    expect(harness.subscriptions()).toBe(0)
  })
}

function lossy(seed: number, rate: number): Omit<HarnessOptions, 'db'> {
  const random = seededRandom(seed)
  return { ...losing(() => random() < rate), timings: { headPollMs: 30, reorderMs: 5 } }
}

async function writeTask(
  { fixture, writer }: StreamHarness,
  { taskId, agentId }: { taskId: string; agentId: string },
  random: () => number,
): Promise<void> {
  const attempts = 1 + Math.floor(random() * 4)
  for (let attempt = 1; attempt <= attempts; attempt += 1) {
    await fixture.reconcile()
    const run = await fixture.claim(agentId)
    const output = writer.open({ ...run, taskId, attempt: run.task.attempt, onStale: () => undefined })
    await speak(output, random)
    const fate = random()
    if (attempt < attempts && fate < 0.4) {
      await fixture.lose(taskId)
      await output.finish()
    } else {
      const last = fate < 0.5 ? 'SUCCEEDED' : fate < 0.8 ? 'FAILED' : 'CANCELLED'
      await fixture.end(run, attempt < attempts ? 'RELEASED' : last, await output.finish())
    }
  }
}

/** One to three model runs, the text of which comes in bursts. */
async function speak(output: RunOutput, random: () => number): Promise<void> {
  for (let models = Math.floor(random() * 3); models >= 0; models -= 1) {
    output.begin(`model-${models}`, 'The one before broke.')
    for (let count = Math.floor(random() * 60); count > 0; count -= 1) {
      output.append(pieces[Math.floor(random() * pieces.length)] ?? '')
      for (let turns = random() < 0.3 ? Math.floor(random() * 5) : 0; turns > 0; turns -= 1) await turn()
    }
  }
}

/** What a reader has assembled, and the cursor it has got that with. */
type Assembled = { version: number; segment: number; text: string; cursor: string | null; isOver: boolean }

const nothing: Assembled = { version: 0, segment: 0, text: '', cursor: null, isOver: false }

/** Reads a task to its end, leaving now and then, and coming back with a cursor that it got some time before. */
async function readAll({ fixture, streams }: StreamHarness, taskId: string, random: () => number): Promise<Assembled> {
  let history: Assembled[] = [nothing]
  let rest = 12
  for (;;) {
    const index = random() < 0.5 ? history.length - 1 : Math.floor(random() * history.length)
    let state = history[index] ?? nothing
    history = history.slice(0, index + 1)
    const stream = await streams.open(fixture.viewer, { taskId, after: state.cursor })
    let isLeaving = false
    while (!isLeaving) {
      const next = await inTime(
        stream.next(),
        () => `an item after ${JSON.stringify({ ...state, text: state.text.length })}`,
      )
      if (next.done === true) return state
      state = assemble(state, next.value)
      history.push(state)
      isLeaving = rest > 0 && random() < 0.1
    }
    rest -= 1
    await stream.return()
    if (random() < 0.3) await turn()
  }
}

/** Takes an item as a client would; anything that does not fit is a failure. */
function assemble(state: Assembled, item: TaskStreamItem): Assembled {
  switch (item.kind) {
    case 'TaskSnapshot':
      expect(state).toBe(nothing)
      return { ...state, version: item.task.version, text: item.output, cursor: item.cursor }
    case 'TaskChanged':
      expect(state.isOver).toBe(false)
      expect(item.event.version).toBe(state.version + 1)
      return {
        ...state,
        version: item.event.version,
        cursor: item.cursor,
        isOver: terminalStatuses.has(item.event.status),
      }
    case 'OutputDelta':
      expect(state.isOver).toBe(false)
      expect(item.offset).toBe(state.text.length)
      if (state.segment !== 0 && state.text !== '') expect(item.segment).toBe(state.segment)
      return { ...state, segment: item.segment, text: state.text + item.text, cursor: item.cursor }
    case 'OutputReset':
      expect(state.isOver).toBe(false)
      expect(item.segment).toBeGreaterThan(state.segment)
      return { ...state, segment: item.segment, text: '', cursor: item.cursor }
    case 'CaughtUp':
    case 'Heartbeat':
      return { ...state, cursor: item.cursor }
    case 'ResyncRequired':
      throw new Error(`a resync was asked for: ${item.reason}`)
  }
}
