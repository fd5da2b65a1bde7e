import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import {
  createTransitions,
  TaskLeftOutError,
  type Transitions,
} from '../../../src/features/tasks/engine/transitions.ts'
import type { NewTask } from '../../../src/features/tasks/engine/transition-input.ts'
import type { TaskTransition } from '../../../src/features/tasks/streams/task-messages.ts'
import type { Agent } from '../../../src/generated/prisma/client.ts'
import { newId } from '../../../src/lib/ids.ts'
import { makeNewTask, seedAgent } from '../../support/seed.ts'
import { startTestDatabase, type TestDatabase } from '../../support/test-database.ts'
import { createTestRuns, endOf, type TestRuns } from './runs.ts'

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
  agent = await seedAgent(db, { concurrency: 1_000 })
})

describe('a task that depends on others', () => {
  test('is queued by the last of them that succeeds, in the same transaction', async () => {
    const [first, second] = [await create({}), await create({})]
    const dependent = await create({ dependsOn: [first.id, second.id] })
    expect(await read(dependent.id)).toMatchObject({ status: 'BLOCKED', unmetDependencies: 2, queuedAt: null })

    const one = await runs.end(await runs.claimTask(agent.workspaceId, first.id))
    expect(told(one.transitions)).toEqual([[first.id, 'SUCCEEDED']])
    expect(await read(dependent.id)).toMatchObject({ status: 'BLOCKED', unmetDependencies: 1, version: 1 })

    const other = await runs.end(await runs.claimTask(agent.workspaceId, second.id))
    expect(told(other.transitions)).toEqual([
      [second.id, 'SUCCEEDED'],
      [dependent.id, 'QUEUED'],
    ])
    expect(other.transitions[1]?.task).toMatchObject({ status: 'QUEUED', version: 2, unmetDependencies: 0 })
    expect(other.readyWorkspaceIds).toEqual([agent.workspaceId])
    expect((await runs.claimTask(agent.workspaceId, dependent.id)).task).toMatchObject({
      attempt: 1,
      dependencyCount: 2,
    })
  })

  test('waits for its time, too', async () => {
    const first = await create({})
    const dependent = await create({ dependsOn: [first.id], runAt: new Date(Date.now() + 3_600_000) })
    expect(await read(dependent.id)).toMatchObject({ status: 'BLOCKED' })

    const {
      transitions: [, heard],
    } = await runs.end(await runs.claimTask(agent.workspaceId, first.id))

    expect(heard).toMatchObject({ event: { type: 'SCHEDULED', status: 'SCHEDULED' }, task: { queuedAt: null } })
  })

  test('stays blocked when the other is tried again or given back', async () => {
    const first = await create({})
    const dependent = await create({ dependsOn: [first.id] })

    await runs.end(await runs.claimTask(agent.workspaceId, first.id), { outcome: 'RELEASED' })
    await runs.end(await runs.claimTask(agent.workspaceId, first.id), { outcome: 'RETRY', retryDelayMs: 60_000 })

    expect(await read(dependent.id)).toMatchObject({ status: 'BLOCKED', version: 1 })
  })

  test.each([
    ['SKIP', 'SKIPPED'],
    ['CANCEL', 'CANCELLED'],
  ] as const)('with the policy %s is %s as soon as one fails, and says why', async (policy, status) => {
    const failing = await create({ name: 'Fetch' })
    const others = [await create({}), await create({})]
    const dependent = await create({
      dependsOn: [failing.id, ...others.map(({ id }) => id)],
      onDependencyFailure: policy,
    })

    const { transitions: heard } = await runs.end(await runs.claimTask(agent.workspaceId, failing.id), {
      outcome: 'FAILED',
    })

    expect(told(heard)).toEqual([
      [failing.id, 'FAILED'],
      [dependent.id, status],
    ])
    expect(heard[1]).toMatchObject({
      task: { status, reason: 'A task that it depends on, “Fetch”, failed.', version: 2 },
      output: { segment: 0, length: 0 },
    })
    expect(heard[1]?.task.finishedAt).toBeInstanceOf(Date)
  })

  test('with the policy RUN runs when all have ended, told what failed', async () => {
    const [failing, cancelled, last] = [await create({ name: 'Fetch' }), await create({}), await create({})]
    const dependsOn = [failing.id, cancelled.id, last.id]
    const dependent = await create({ dependsOn, onDependencyFailure: 'RUN' })

    await runs.end(await runs.claimTask(agent.workspaceId, failing.id), { outcome: 'FAILED' })
    await transitions.cancel([cancelled.id], null)
    expect(await read(dependent.id)).toMatchObject({ status: 'BLOCKED', unmetDependencies: 1, version: 1 })
    const { transitions: heard } = await runs.end(await runs.claimTask(agent.workspaceId, last.id))

    expect(told(heard)).toEqual([
      [last.id, 'SUCCEEDED'],
      [dependent.id, 'QUEUED'],
    ])
    expect(heard[1]?.event.reason).toBe('2 tasks that it depends on did not succeed; the first, “Fetch”, failed.')
  })

  test('passes a failure on along a chain, each by its own policy, and no further than one that runs', async () => {
    const root = await create({})
    const skip = await create({ name: 'B', dependsOn: [root.id] })
    const cancel = await create({ name: 'C', dependsOn: [skip.id], onDependencyFailure: 'CANCEL' })
    const run = await create({ name: 'D', dependsOn: [cancel.id], onDependencyFailure: 'RUN' })
    const last = await create({ dependsOn: [run.id] })

    const { transitions: heard } = await runs.end(await runs.claimTask(agent.workspaceId, root.id), {
      outcome: 'FAILED',
    })

    expect(heard.map(({ event }) => [event.taskId, event.type, event.reason])).toEqual([
      [root.id, 'FAILED', null],
      [skip.id, 'SKIPPED', 'A task that it depends on failed.'],
      [cancel.id, 'CANCELLED', 'A task that it depends on, “B”, was skipped.'],
      [run.id, 'QUEUED', 'A task that it depends on, “C”, was cancelled.'],
    ])
    expect(await read(last.id)).toMatchObject({ status: 'BLOCKED', unmetDependencies: 1 })
  })

  test('hears of every end of the other: a cancellation, a lost worker, an archived agent', async () => {
    const archived = await seedAgent(db, { workspaceId: agent.workspaceId })
    const [cancelled, lost] = [await create({}), await create({ maxAttempts: 1 })]
    const waiting = await create({ runAt: new Date(Date.now() + 3_600_000) }, archived)
    const dependents = [cancelled, lost, waiting].map(({ id }) => make({ dependsOn: [id] }))
    await transitions.create(dependents)

    await transitions.cancel([cancelled.id], 'not needed')
    expect(await statusOf(dependents[0]?.id)).toBe('SKIPPED')

    await runs.claimTask(agent.workspaceId, lost.id)
    await db.prisma.task.update({ where: { id: lost.id }, data: { leaseExpiresAt: new Date(0) } })
    await db.prisma.agent.update({ where: { id: archived.id }, data: { status: 'ARCHIVED' } })
    const repaired = await transitions.reconcile({ cancelGraceMs: 60_000, limit: 100 })

    expect(new Map(told(repaired))).toEqual(
      new Map([
        [lost.id, 'FAILED'],
        [waiting.id, 'CANCELLED'],
        [dependents[1]?.id, 'SKIPPED'],
        [dependents[2]?.id, 'SKIPPED'],
      ]),
    )
  })

  test('that was cancelled itself hears no more', async () => {
    const first = await create({})
    const dependent = await create({ dependsOn: [first.id] })
    await transitions.cancel([dependent.id], null)

    const { transitions: heard } = await runs.end(await runs.claimTask(agent.workspaceId, first.id))

    expect(told(heard)).toEqual([[first.id, 'SUCCEEDED']])
    expect(await read(dependent.id)).toMatchObject({ status: 'CANCELLED', version: 2 })
  })

  test('is cancelled once when it is cancelled together with what it depends on', async () => {
    const first = await create({})
    const dependent = await create({ dependsOn: [first.id] })

    const heard = await transitions.cancel([first.id, dependent.id], 'all of it')

    expect(told(heard)).toEqual([first.id, dependent.id].toSorted().map((id) => [id, 'CANCELLED']))
  })
})

describe('a task that depends on what has ended', () => {
  test('does not wait for what has succeeded', async () => {
    const done = await create({})
    await runs.end(await runs.claimTask(agent.workspaceId, done.id))

    expect(told(await transitions.create([make({ dependsOn: [done.id] })])).map(([, type]) => type)).toEqual([
      'CREATED',
    ])
    expect(await runs.claim(agent.workspaceId)).toHaveLength(1)
  })

  test.each([
    ['SKIP', 'SKIPPED'],
    ['CANCEL', 'CANCELLED'],
    ['RUN', 'QUEUED'],
  ] as const)('without success is created, and with the policy %s is %s at once', async (policy, status) => {
    const failed = await create({})
    await runs.end(await runs.claimTask(agent.workspaceId, failed.id), { outcome: 'FAILED' })

    const created = await transitions.create([make({ dependsOn: [failed.id], onDependencyFailure: policy })])

    expect(created.map(({ event }) => [event.type, event.status, event.version])).toEqual([
      ['CREATED', 'BLOCKED', 1],
      [status, status, 2],
    ])
  })

  test('is left out, and no other of the same call, when that does not exist or is of another workspace', async () => {
    const foreign = await seedAgent(db)
    const theirs = await create({}, foreign)
    const fine = make({})

    const created = await transitions.create([make({ dependsOn: [newId()] }), fine, make({ dependsOn: [theirs.id] })])

    expect(told(created)).toEqual([[fine.id, 'CREATED']])
  })
})

describe('a graph', () => {
  test('is created whole, in the order given, and runs from its roots', async () => {
    const [a, b, c, d] = [make({}), make({}), make({}), make({})]
    const diamond = [{ ...d, dependsOn: [b.id, c.id] }, { ...b, dependsOn: [a.id] }, { ...c, dependsOn: [a.id] }, a]

    const created = await transitions.createGraph(diamond, null)

    expect(created.map(({ task }) => [task.id, task.status])).toEqual([
      [d.id, 'BLOCKED'],
      [b.id, 'BLOCKED'],
      [c.id, 'BLOCKED'],
      [a.id, 'QUEUED'],
    ])
    await runs.end(await runs.claimTask(agent.workspaceId, a.id))
    const both = await runs.claim(agent.workspaceId, 2)
    expect(both.map(({ task }) => task.id).toSorted()).toEqual([b.id, c.id].toSorted())
    const { transitions: heard } = await runs.endAll(both.map((run) => endOf(run)))
    expect(told(heard).slice(2)).toEqual([[d.id, 'QUEUED']])
  })

  test('is not created at all when one of its tasks cannot be', async () => {
    const archived = await seedAgent(db, { workspaceId: agent.workspaceId, status: 'ARCHIVED' })
    const root = make({})

    const creating = transitions.createGraph([root, makeNewTask(archived, { dependsOn: [root.id] })], null)

    await expect(creating).rejects.toBeInstanceOf(TaskLeftOutError)
    expect(await db.prisma.task.count({ where: { agentId: agent.id } })).toBe(0)
  })
})

describe('many dependents', () => {
  test('two that end at once leave none blocked', async () => {
    for (let round = 0; round < 10; round += 1) {
      const pair = [await create({}), await create({})]
      const dependent = await create({ dependsOn: pair.map(({ id }) => id) })
      const claimed = await runs.claim(agent.workspaceId, 2)

      await Promise.all(claimed.map((run) => runs.end(run)))

      expect(await statusOf(dependent.id)).toBe('QUEUED')
      await runs.end(await runs.claimTask(agent.workspaceId, dependent.id))
    }
  })

  test(
    'more than one transaction tells are told by the reconciler, those of a long chain, too',
    { timeout: 120_000 },
    async () => {
      const [wide, deep] = [await create({}), await create({})]
      const fan = Array.from({ length: 1_300 }, () => make({ dependsOn: [wide.id] }))
      await transitions.create(fan)
      const chain: NewTask[] = []
      for (let length = 0; length < 1_300; length += 1) chain.push(make({ dependsOn: [chain.at(-1)?.id ?? deep.id] }))
      await transitions.create(chain)

      const [wideRun, deepRun] = await runs.claim(agent.workspaceId, 2)
      if (wideRun === undefined || deepRun === undefined) throw new Error('nothing was claimed')
      const first = [
        ...(await runs.end(wideRun)).transitions,
        ...(await runs.end(deepRun, { outcome: 'FAILED' })).transitions,
      ]
      expect(first.length).toBeLessThan(2_100)
      const rest = await tellRest()

      const heard = told([...first, ...rest]).filter(([id]) => id !== wide.id && id !== deep.id)
      expect(heard).toHaveLength(2_600)
      expect(new Map(heard)).toEqual(
        new Map([...fan.map(({ id }) => [id, 'QUEUED'] as const), ...chain.map(({ id }) => [id, 'SKIPPED'] as const)]),
      )
      expect(await db.prisma.taskDependentsDue.count()).toBe(0)
    },
  )

  test('a blocked task that nobody has told is found', async () => {
    const done = await create({})
    const dependent = await create({ dependsOn: [done.id] })
    await db.prisma.task.update({ where: { id: done.id }, data: { status: 'SUCCEEDED', finishedAt: new Date() } })

    const found: TaskTransition[] = []
    let after: string | null = null
    do {
      const page = await transitions.tellOverlooked(after, 2)
      found.push(...page.transitions)
      after = page.next
    } while (after !== null)

    expect(told(found)).toContainEqual([dependent.id, 'QUEUED'])
  })
})

const make = (overrides: Partial<NewTask>): NewTask => makeNewTask(agent, overrides)

async function create(draft: Partial<NewTask>, of = agent): Promise<NewTask> {
  const task = makeNewTask(of, draft)
  await transitions.create([task])
  return task
}

const told = (transitionsMade: readonly TaskTransition[]): [string, string][] =>
  transitionsMade.map(({ event }) => [event.taskId, event.type])

const read = (id: string) => db.prisma.task.findUniqueOrThrow({ where: { id } })
const statusOf = async (id: string | undefined) => (await read(id ?? '')).status

async function tellRest(): Promise<TaskTransition[]> {
  const all: TaskTransition[] = []
  for (;;) {
    const { transitions: heard, more } = await transitions.tellRest(500)
    all.push(...heard)
    if (!more) return all
  }
}
