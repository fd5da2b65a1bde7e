import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createTransitions, type Transitions } from '../../../src/features/tasks/engine/transitions.ts'
import type { NewTask } from '../../../src/features/tasks/engine/transition-input.ts'
import type { TaskTransition } from '../../../src/features/tasks/streams/task-messages.ts'
import type { Agent } from '../../../src/generated/prisma/client.ts'
import { makeNewTask, seedAgent } from '../../support/seed.ts'
import { startTestDatabase, type TestDatabase } from '../../support/test-database.ts'
import { createTestRuns, type TestRuns } from './runs.ts'

let db: TestDatabase
let transitions: Transitions
let runs: TestRuns
let agent: Agent

beforeAll(async () => {
  db = await startTestDatabase()
  transitions = createTransitions({ db })
  runs = createTestRuns(transitions)
})

afterAll(() => db[Symbol.asyncDispose]())

beforeEach(async () => {
  agent = await seedAgent(db, { concurrency: 1_000, maxAttempts: 2 })
})

describe('retry', () => {
  test('begins a failed task anew: all attempts are its own again, and their numbers go on', async () => {
    const task = await create({})
    const output = { segment: 1, model: 'p/m', reason: null, text: 'half of' }
    await fail(task, { output, error: { code: 'OVERLOADED', message: 'busy', retryable: false } })

    const made = await transitions.retry([task.id])

    expect(made.map(({ event }) => [event.type, event.status, event.attempt, event.reason])).toEqual([
      ['REVIVED', 'QUEUED', 1, null],
    ])
    expect(made[0]?.task).toMatchObject({
      attempt: 1,
      attemptsUsed: 0,
      finishedAt: null,
      startedAt: null,
      errorCode: null,
    })
    expect(await db.prisma.taskContent.findUnique({ where: { taskId: task.id } })).toMatchObject({ output: null })
    const run = await runs.claimTask(agent.workspaceId, task.id)
    expect(run).toMatchObject({ task: { attempt: 2 }, lastSegment: 2 })
    await runs.end(run, { output: { segment: 3, model: 'p/m', reason: null, text: 'whole' } })
    expect(await db.prisma.taskContent.findUnique({ where: { taskId: task.id } })).toMatchObject({ output: 'whole' })
  })

  test.each(['QUEUED', 'RUNNING', 'SUCCEEDED'])('leaves a task alone that is %s', async (status) => {
    const task = await create({})
    if (status !== 'QUEUED') {
      const run = await runs.claimTask(agent.workspaceId, task.id)
      if (status === 'SUCCEEDED') await runs.end(run)
    }
    expect(await transitions.retry([task.id])).toEqual([])
    expect(await statusOf(task)).toBe(status)
  })

  test('leaves the tasks of an archived agent alone', async () => {
    const task = await create({})
    await fail(task)
    await db.prisma.agent.update({ where: { id: agent.id }, data: { status: 'ARCHIVED' } })

    expect(await transitions.retry([task.id])).toEqual([])
  })

  test('revives what was skipped or cancelled because of it, back to blocked, along chains', async () => {
    const root = await create({})
    const skipped = await create({ dependsOn: [root.id] })
    const cancelled = await create({ dependsOn: [skipped.id], onDependencyFailure: 'CANCEL' })
    const byHand = await create({ dependsOn: [root.id] })
    const ran = await create({ dependsOn: [root.id], onDependencyFailure: 'RUN' })
    const waiting = await create({ dependsOn: [root.id, ran.id], onDependencyFailure: 'RUN' })
    await transitions.cancel([byHand.id], 'not wanted')
    await fail(root)
    expect(await db.prisma.task.findUnique({ where: { id: waiting.id } })).toMatchObject({ unmetDependencies: 1 })

    const made = await transitions.retry([root.id])

    expect(made.map(({ event }) => [event.taskId, event.type, event.status, event.reason])).toEqual([
      [root.id, 'REVIVED', 'QUEUED', null],
      [skipped.id, 'REVIVED', 'BLOCKED', 'A task that it depends on was retried.'],
      [cancelled.id, 'REVIVED', 'BLOCKED', 'A task that it depends on was retried.'],
    ])
    expect(await statusOf(byHand)).toBe('CANCELLED')
    expect(await statusOf(ran)).toBe('QUEUED')
    expect(await db.prisma.task.findUnique({ where: { id: waiting.id } })).toMatchObject({ unmetDependencies: 2 })
  })

  test('does not revive what depends on something else that failed, until that is retried, too', async () => {
    const [one, other] = [await create({}), await create({})]
    const dependent = await create({ dependsOn: [one.id, other.id] })
    await fail(one)
    await fail(other)

    expect(ids(await transitions.retry([dependent.id]))).toEqual([])
    expect(ids(await transitions.retry([one.id]))).toEqual([one.id])
    expect(await statusOf(dependent)).toBe('SKIPPED')
    expect(ids(await transitions.retry([other.id]))).toEqual([other.id, dependent.id])
    for (const run of await runs.claim(agent.workspaceId, 2)) await runs.end(run)
    expect(await statusOf(dependent)).toBe('QUEUED')
  })

  test('keeps a task that never ran to its time', async () => {
    const task = await create({ runAt: new Date(Date.now() + 3_600_000) })
    await transitions.cancel([task.id], null)

    expect((await transitions.retry([task.id])).map(({ task: row }) => row.status)).toEqual(['SCHEDULED'])
  })

  test('revives more than one transaction can, by the reconciler', { timeout: 120_000 }, async () => {
    const root = await create({})
    const fan = Array.from({ length: 1_100 }, () => makeNewTask(agent, { dependsOn: [root.id] }))
    await transitions.create(fan)
    await fail(root)
    await tellRest()
    expect(await db.prisma.task.count({ where: { agentId: agent.id, status: 'SKIPPED' } })).toBe(1_100)

    const made = [...(await transitions.retry([root.id])), ...(await tellRest())]

    expect(new Set(ids(made))).toEqual(new Set([root.id, ...fan.map(({ id }) => id)]))
    expect(await db.prisma.task.count({ where: { agentId: agent.id, status: 'BLOCKED' } })).toBe(1_100)
  })
})

async function create(draft: Partial<NewTask>): Promise<NewTask> {
  const task = makeNewTask(agent, draft)
  await transitions.create([task])
  return task
}

async function fail({ id }: NewTask, rest: Parameters<TestRuns['end']>[1] = {}): Promise<void> {
  await runs.end(await runs.claimTask(agent.workspaceId, id), { outcome: 'FAILED', ...rest })
}

async function tellRest(): Promise<TaskTransition[]> {
  const all: TaskTransition[] = []
  for (;;) {
    const { transitions: heard, more } = await transitions.tellRest(500)
    all.push(...heard)
    if (!more) return all
  }
}

const ids = (made: readonly TaskTransition[]): string[] => made.map(({ event }) => event.taskId)
const statusOf = async ({ id }: NewTask) => (await db.prisma.task.findUniqueOrThrow({ where: { id } })).status
