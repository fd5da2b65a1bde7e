import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createTransitions, type Transitions } from '../../../src/features/tasks/engine/transitions.ts'
import type { RunEnd, Wish } from '../../../src/features/tasks/engine/transition-input.ts'
import type { ClaimedRun } from '../../../src/features/tasks/engine/task-json.ts'
import type { Agent } from '../../../src/generated/prisma/client.ts'
import { newId } from '../../../src/lib/ids.ts'
import { makeNewTask, seedAgent } from '../../support/seed.ts'
import { startTestDatabase, type TestDatabase } from '../../support/test-database.ts'

// Longer than the file takes on a slow machine: where a lease is to run out, the test says so.
const leaseMs = 600_000
const processId = newId()
let db: TestDatabase
let transitions: Transitions
let agent: Agent

beforeAll(async () => {
  db = await startTestDatabase()
  transitions = createTransitions({ db })
})

afterAll(() => db[Symbol.asyncDispose]())

beforeEach(async () => {
  // What the test before has left to repair.
  await reconcile()
  agent = await seedAgent(db)
})

describe('create', () => {
  test('queues a task, and tells its event and its place in the feed', async () => {
    const task = makeNewTask(agent, { name: 'First', priority: 7, input: { a: [1] } })

    const [created] = await transitions.create([task])

    expect(created).toMatchObject({
      event: {
        taskId: task.id,
        workspaceId: agent.workspaceId,
        seq: 1,
        version: 1,
        type: 'CREATED',
        status: 'QUEUED',
        attempt: 0,
      },
      task: {
        id: task.id,
        name: 'First',
        priority: 7,
        status: 'QUEUED',
        timeoutMs: 60_000,
        maxAttempts: 3,
        attemptsUsed: 0,
      },
      output: null,
    })
    expect(await db.prisma.taskContent.findUnique({ where: { taskId: task.id } })).toMatchObject({
      prompt: 'Go.',
      input: { a: [1] },
    })
  })

  test('schedules what is to run later, and queues it when it is due', async () => {
    const later = makeNewTask(agent, { runAt: new Date(Date.now() + 3_600_000) })
    const past = makeNewTask(agent, { runAt: new Date(Date.now() - 1_000) })
    const created = await transitions.create([later, past])
    expect(created.map(({ task }) => task.status)).toEqual(['SCHEDULED', 'QUEUED'])
    const dueInMs = await transitions.nextDueInMs()
    expect(dueInMs).toBeGreaterThan(3_500_000)

    await db.prisma.task.update({ where: { id: later.id }, data: { runAt: new Date(Date.now() - 1) } })
    const repaired = await reconcile()

    expect(repaired.map(({ event, task }) => [event.taskId, event.type, task.status])).toEqual([
      [later.id, 'QUEUED', 'QUEUED'],
    ])
  })

  test('makes one task for one idempotency key, also when many ask at once', async () => {
    const tasks = Array.from({ length: 20 }, () =>
      makeNewTask(agent, { idempotencyKey: 'same', idempotencyHash: '0a' }),
    )

    const created = await Promise.all(tasks.map((task) => transitions.create([task])))

    expect(created.flat()).toHaveLength(1)
    expect(await db.prisma.task.count({ where: { agentId: agent.id } })).toBe(1)
  })

  test('takes no task for an archived agent, nor for one of another workspace', async () => {
    const archived = await seedAgent(db, { status: 'ARCHIVED' })
    const foreign = { ...agent, workspaceId: archived.workspaceId }

    expect(await transitions.create([makeNewTask(archived), makeNewTask(foreign)])).toEqual([])
  })

  test('numbers the events of a workspace without a gap, in the order of commits, whoever writes them', async () => {
    await Promise.all(Array.from({ length: 30 }, () => transitions.create([makeNewTask(agent), makeNewTask(agent)])))

    const events = await db.prisma.taskEvent.findMany({
      where: { workspaceId: agent.workspaceId },
      orderBy: { seq: 'asc' },
    })

    expect(events.map(({ seq }) => Number(seq))).toEqual(Array.from({ length: 60 }, (_, index) => index + 1))
  })
})

describe('claim', () => {
  test('gives a run everything it needs, under a lease', async () => {
    const task = makeNewTask(agent, { prompt: 'What?', input: { n: 1 } })
    await transitions.create([task])

    const { claimed, transitions: told } = await claim(1)

    expect(claimed).toHaveLength(1)
    expect(claimed[0]).toMatchObject({
      task: { id: task.id, status: 'RUNNING', attempt: 1, version: 2, attemptsUsed: 0 },
      prompt: 'What?',
      input: { n: 1 },
      agent: { id: agent.id, instructions: 'Work.', version: 1 },
      lastSegment: 0,
    })
    expect(told.map(({ event }) => event.type)).toEqual(['STARTED'])
    expect(await attempts(task.id)).toMatchObject([{ number: 1, status: 'RUNNING', agentVersion: 1, processId }])
  })

  test('takes the highest priority first, and ages what waits by a point every 30 s', async () => {
    const old = makeNewTask(agent, { name: 'old' })
    const [low, high] = [
      makeNewTask(agent, { name: 'low', priority: -5 }),
      makeNewTask(agent, { name: 'high', priority: 5 }),
    ]
    await transitions.create([old, low, high])
    await db.prisma.task.update({ where: { id: old.id }, data: { queuedAt: new Date(Date.now() - 6 * 30_000) } })

    const order = []
    for (let n = 0; n < 3; n += 1) order.push((await claim(1)).claimed[0]?.task.name)

    expect(order).toEqual(['old', 'high', 'low'])
  })

  test('never exceeds the concurrency of an agent, however many claim at once', async () => {
    const narrow = await seedAgent(db, { concurrency: 3 })
    await transitions.create(Array.from({ length: 20 }, () => makeNewTask(narrow)))

    const results = await Promise.all(Array.from({ length: 8 }, () => claim(2, narrow)))

    expect(results.flatMap(({ claimed }) => claimed)).toHaveLength(3)
    expect((await claim(1, narrow)).claimed).toEqual([])
    expect(await transitions.workspacesWithWork(100)).not.toContain(narrow.workspaceId)
  })

  test('hands the tasks of a workspace to the agents that run fewest, as if one at a time', async () => {
    const { workspaceId } = agent
    const [idle, narrow] = [await seedAgent(db, { workspaceId }), await seedAgent(db, { workspaceId, concurrency: 1 })]
    await transitions.create(Array.from({ length: 6 }, () => makeNewTask(agent)))
    expect((await claim(2)).claimed.map((run) => run.agent.id)).toEqual([agent.id, agent.id])
    await transitions.create([1, 2, 3].flatMap(() => [makeNewTask(narrow), makeNewTask(idle)]))

    const { claimed, readyWorkspaceIds } = await claim(5)

    const owners = claimed.map((run) => run.agent.id)
    expect(owners.slice(0, 2).toSorted()).toEqual([idle.id, narrow.id].toSorted())
    expect(owners.slice(2)).toEqual([idle.id, idle.id, agent.id])
    expect(readyWorkspaceIds).toEqual([workspaceId])
  })

  test('says that something is left only when it could run', async () => {
    const narrow = await seedAgent(db, { concurrency: 2 })
    await transitions.create(Array.from({ length: 3 }, () => makeNewTask(narrow)))

    expect((await claim(1, narrow)).readyWorkspaceIds).toEqual([narrow.workspaceId])
    expect(await claim(1, narrow)).toMatchObject({ claimed: [{}], readyWorkspaceIds: [] })
  })

  test('gives the same tasks for the same tokens when it is asked again, with their leases renewed', async () => {
    await transitions.create(Array.from({ length: 3 }, () => makeNewTask(agent)))
    const first = wish(agent, 2)
    const { claimed } = await transitions.step({ ends: [], claims: [first], processId, leaseMs: 5_000 })

    const more = wish(agent, 2)
    const again = { ...more, leaseTokens: [...first.leaseTokens, ...more.leaseTokens], again: true }
    const repeated = await transitions.step({ ends: [], claims: [again], processId, leaseMs: 60_000 })

    const held = repeated.claimed.filter(({ leaseToken }) => first.leaseTokens.includes(leaseToken))
    expect(held.map(({ task }) => task.id).toSorted()).toEqual(claimed.map(({ task }) => task.id).toSorted())
    expect(held.map(({ task }) => task.attempt)).toEqual([1, 1])
    const renewed = (run: ClaimedRun) => Number(run.task.leaseExpiresAt) - Number(claimed[0]?.task.leaseExpiresAt)
    expect(held.every((run) => renewed(run) > 30_000)).toBe(true)
    expect(repeated.claimed).toHaveLength(3)
    expect(repeated.transitions.map(({ event }) => event.type)).toEqual(['STARTED'])
  })

  test('does not take for its own what has passed to somebody else', async () => {
    const task = makeNewTask(agent)
    await transitions.create([task])
    const lost = wish(agent, 1)
    await transitions.step({ ends: [], claims: [lost], processId, leaseMs })
    await expireLease(task.id)
    await reconcile()
    const taken = await claimOne(task.id)

    const { claimed } = await transitions.step({ ends: [], claims: [{ ...lost, again: true }], processId, leaseMs })

    expect(claimed).toEqual([])
    expect(taken.task.attempt).toBe(2)
  })

  test('takes nothing of an agent that is paused', async () => {
    const paused = await seedAgent(db, { status: 'PAUSED' })
    await transitions.create([makeNewTask(paused)])

    expect((await claim(1, paused)).claimed).toEqual([])
    expect(await transitions.workspacesWithWork(100)).not.toContain(paused.workspaceId)
  })
})

describe('end', () => {
  test('stores the output and the calls of a run that succeeded, and claims the next in the same step', async () => {
    const [first, second] = [makeNewTask(agent), makeNewTask(agent)]
    await transitions.create([first, second])
    const run = await claimOne(first.id)
    const callId = newId()

    const result = await transitions.step({
      ends: [
        endOf(run, {
          output: { segment: 1, model: 'p/m', reason: null, text: 'Hé 👋' },
          outputJson: { ok: true },
          calls: [callOf(run, callId)],
        }),
      ],
      claims: [wish(agent, 1)],
      processId,
      leaseMs,
    })

    expect([...result.endedTaskIds]).toEqual([first.id])
    expect(result.claimed.map(({ task }) => task.id)).toEqual([second.id])
    expect(result.transitions.map(({ event, output }) => [event.taskId, event.type, output])).toEqual([
      [first.id, 'SUCCEEDED', { segment: 1, length: 5 }],
      [second.id, 'STARTED', null],
    ])
    expect(await content(first.id)).toMatchObject({ output: 'Hé 👋', outputJson: { ok: true } })
    expect(await attempts(first.id)).toMatchObject([
      { number: 1, status: 'SUCCEEDED', model: 'p/m', timeToFirstTokenMs: 12.5 },
    ])
    expect(await db.prisma.usageRecord.findUnique({ where: { id: callId } })).toMatchObject({
      taskId: first.id,
      inputTokens: 10,
      costNanoUsd: 9_007_199_254_740_993n,
    })
  })

  test.each([
    ['FAILED', 'FAILED', 'FAILED', 1],
    ['RETRY', 'SCHEDULED', 'FAILED', 1],
    ['CANCELLED', 'CANCELLED', 'CANCELLED', 1],
    ['RELEASED', 'QUEUED', 'RELEASED', 0],
  ] as const)('%s makes the task %s, its attempt %s, and counts %i', async (outcome, status, attemptStatus, used) => {
    const task = makeNewTask(agent)
    await transitions.create([task])
    const error = { code: 'OVERLOADED', message: 'busy', retryable: true }

    const { transitions: told } = await end(endOf(await claimOne(task.id), { outcome, error, retryDelayMs: 600_000 }))

    expect(told[0]?.task).toMatchObject({
      status,
      attempt: 1,
      attemptsUsed: used,
      leaseToken: null,
      errorCode: 'OVERLOADED',
    })
    expect(await attempts(task.id)).toMatchObject([{ status: attemptStatus }])
  })

  test('a retry waits for its delay, by the clock of the database', async () => {
    const task = makeNewTask(agent)
    await transitions.create([task])

    await end(endOf(await claimOne(task.id), { outcome: 'RETRY', retryDelayMs: 60_000 }))

    const dueInMs = await db.query<{ ms: number }>(
      {
        name: 'test_due',
        text: `SELECT extract(epoch FROM run_at - clock_timestamp())::float8 * 1000 AS ms FROM task WHERE id = $1`,
      },
      [task.id],
    )
    expect(dueInMs[0]?.ms).toBeGreaterThan(55_000)
    expect(dueInMs[0]?.ms).toBeLessThanOrEqual(60_000)
  })

  test('what is put back is told for the very millisecond that is kept', async () => {
    const seeded = await seedAgent(db, { concurrency: 16 })
    await transitions.create(Array.from({ length: 16 }, () => makeNewTask(seeded)))
    const { claimed } = await transitions.step({ ends: [], claims: [wish(seeded, 16)], processId, leaseMs })
    expect(claimed).toHaveLength(16)

    for (const run of claimed) {
      const { transitions: told } = await transitions.postpone(
        endOf(run, { outcome: 'LIMITED', reason: 'Enough.', retryDelayMs: 60_000 }),
      )
      const task = told[0]?.task
      expect(task?.reason).toBe(`Limited until ${String(task?.runAt?.toISOString())}: Enough.`)
    }
  })

  test('the last attempt that fails is the end, and the partial text is kept', async () => {
    const task = makeNewTask(agent, { maxAttempts: 1 })
    await transitions.create([task])
    const output = { segment: 1, model: 'p/m', reason: null, text: 'half of' }

    const { transitions: told } = await end(
      endOf(await claimOne(task.id), { outcome: 'RETRY', retryDelayMs: 1, output }),
    )

    expect(told[0]).toMatchObject({ event: { type: 'FAILED' }, output: { segment: 1, length: 7 } })
    expect(await content(task.id)).toMatchObject({ output: 'half of' })
  })

  test('an end without text keeps what an earlier attempt had written', async () => {
    const task = makeNewTask(agent, { maxAttempts: 2 })
    await transitions.create([task])
    const run = await claimOne(task.id)
    await writeChunks(run, ['from ', 'before'])
    await end(endOf(run, { outcome: 'RELEASED' }))

    const { transitions: told } = await end(endOf(await claimOne(task.id), { outcome: 'FAILED' }))

    expect(told[0]?.output).toEqual({ segment: 1, length: 11 })
    expect(await content(task.id)).toMatchObject({ output: 'from before' })
    expect(await db.prisma.outputChunk.count({ where: { taskId: task.id } })).toBe(0)
  })

  test('is refused for a lease that was taken over or has run out, but what was spent is recorded', async () => {
    const task = makeNewTask(agent)
    await transitions.create([task])
    const lost = await claimOne(task.id)
    await expireLease(task.id)
    const callId = newId()

    const late = await end(endOf(lost, { calls: [callOf(lost, callId)] }))
    await reconcile()
    const taken = await claimOne(task.id)
    const later = await end(endOf(lost, { output: { segment: 1, model: 'p/m', reason: null, text: 'stale' } }))

    expect([late.endedTaskIds.size, later.endedTaskIds.size]).toEqual([0, 0])
    expect(taken.task).toMatchObject({ attempt: 2, status: 'RUNNING' })
    expect(await content(task.id)).toMatchObject({ output: null })
    expect(await db.prisma.usageRecord.count({ where: { id: callId } })).toBe(1)
  })

  test('writes a call once, however often it is told', async () => {
    const task = makeNewTask(agent)
    await transitions.create([task])
    const run = await claimOne(task.id)
    const calls = [callOf(run, newId())]

    await end(endOf(run, { outcome: 'RELEASED', calls }))
    await end(endOf(run, { outcome: 'RELEASED', calls }))

    expect(await db.prisma.usageRecord.count({ where: { taskId: task.id } })).toBe(1)
  })
})

describe('a step that ends and claims', () => {
  test('gives a task back before it is claimed again, by another step', async () => {
    const task = makeNewTask(agent)
    await transitions.create([task])
    const run = await claimOne(task.id)

    const released = await transitions.step({
      ends: [endOf(run, { outcome: 'RELEASED' })],
      claims: [wish(agent, 1)],
      processId,
      leaseMs,
    })

    expect(released.transitions.map(({ event, task: row }) => [event.type, row.status])).toEqual([
      ['RELEASED', 'QUEUED'],
    ])
    expect((await claimOne(task.id)).task).toMatchObject({ attempt: 2, version: 4 })
  })
})

describe('agents with room', () => {
  test('are told by the end that made it, unless the same step has filled it', async () => {
    const narrow = await seedAgent(db, { concurrency: 1 })
    const tasks = Array.from({ length: 3 }, () => makeNewTask(narrow))
    await transitions.create(tasks)
    const { claimed } = await claim(1, narrow)
    const [first] = claimed
    if (first === undefined) throw new Error('nothing was claimed')

    const filled = await transitions.step({
      ends: [endOf(first)],
      claims: [wish(narrow, 1)],
      processId,
      leaseMs,
    })
    const [second] = filled.claimed
    if (second === undefined) throw new Error('nothing was claimed')
    const left = await end(endOf(second))

    expect([filled.readyWorkspaceIds, left.readyWorkspaceIds]).toEqual([[], [narrow.workspaceId]])
  })
})

describe('cancel', () => {
  test('ends at once what is not running, and keeps what has ended as it is', async () => {
    const [queued, scheduled, done] = [
      makeNewTask(agent),
      makeNewTask(agent, { runAt: new Date(Date.now() + 60_000) }),
      makeNewTask(agent),
    ]
    await transitions.create([done])
    await end(endOf(await claimOne(done.id)))
    await transitions.create([queued, scheduled])

    const told = await transitions.cancel([queued.id, scheduled.id, done.id], 'not needed')

    expect(told.map(({ event, task }) => [event.taskId, event.type, task.status, event.reason])).toEqual(
      [queued.id, scheduled.id].toSorted().map((id) => [id, 'CANCELLED', 'CANCELLED', 'not needed']),
    )
  })

  test('counts an attempt that is given back after it was asked to stop: it is cancelled', async () => {
    const task = makeNewTask(agent)
    await transitions.create([task])
    const run = await claimOne(task.id)
    await transitions.cancel([task.id], 'enough')

    const { transitions: told } = await end(endOf(run, { outcome: 'RELEASED' }))

    expect(told.map(({ task: row }) => [row.status, row.attemptsUsed])).toEqual([['CANCELLED', 1]])
    expect(await attempts(task.id)).toMatchObject([{ status: 'CANCELLED' }])
  })

  test('asks a running task to stop, once, and its end is CANCELLED unless it had succeeded', async () => {
    const [stopping, succeeding] = [makeNewTask(agent), makeNewTask(agent)]
    await transitions.create([stopping, succeeding])
    const runs = [await claimOne(stopping.id), await claimOne(succeeding.id)] as const

    const asked = await transitions.cancel([stopping.id, succeeding.id], 'enough')
    const again = await transitions.cancel([stopping.id], 'really')
    expect(asked.map(({ event, task }) => [event.type, task.status])).toEqual([
      ['CANCEL_REQUESTED', 'RUNNING'],
      ['CANCEL_REQUESTED', 'RUNNING'],
    ])
    expect(again).toEqual([])
    expect(await heartbeat(runs)).toEqual([
      { leaseToken: runs[0].leaseToken, cancelRequested: true },
      { leaseToken: runs[1].leaseToken, cancelRequested: true },
    ])

    const failed = await end(endOf(runs[0], { outcome: 'RETRY', retryDelayMs: 1 }))
    const succeeded = await end(endOf(runs[1]))
    expect(failed.transitions[0]?.task).toMatchObject({ status: 'CANCELLED', reason: 'enough' })
    expect(succeeded.transitions[0]?.task).toMatchObject({ status: 'SUCCEEDED' })
  })

  test('is forced when the run does not stop', async () => {
    const task = makeNewTask(agent)
    await transitions.create([task])
    const run = await claimOne(task.id)
    await writeChunks(run, ['so ', 'far'])
    await transitions.cancel([task.id], null)

    const told = await transitions.reconcile({ cancelGraceMs: 0, limit: 10 })

    expect(told.map(({ event, output }) => [event.type, output])).toEqual([['CANCELLED', { segment: 1, length: 6 }]])
    expect(await content(task.id)).toMatchObject({ output: 'so far' })
    expect((await end(endOf(run))).endedTaskIds.size).toBe(0)
  })
})

describe('heartbeat', () => {
  test('keeps the leases that are ours, and says nothing of the others', async () => {
    const [mine, lost] = [makeNewTask(agent), makeNewTask(agent)]
    await transitions.create([mine, lost])
    const runs = [await claimOne(mine.id), await claimOne(lost.id)] as const
    await expireLease(lost.id)

    expect(await heartbeat(runs)).toEqual([{ leaseToken: runs[0].leaseToken, cancelRequested: false }])
    expect(await transitions.heartbeat([{ taskId: mine.id, leaseToken: newId() }], leaseMs)).toEqual([])
  })
})

describe('reconcile', () => {
  test('queues again what a crash has left behind, and counts the attempt', async () => {
    const task = makeNewTask(agent)
    await transitions.create([task])
    await claimOne(task.id)
    await expireLease(task.id)

    const told = await reconcile()

    expect(told.map(({ event, task: row }) => [event.type, event.reason, row.status, row.attemptsUsed])).toEqual([
      ['QUEUED', 'The worker was lost.', 'QUEUED', 1],
    ])
    expect(await attempts(task.id)).toMatchObject([{ status: 'LOST', errorCode: 'WORKER_LOST' }])
    expect(await reconcile()).toEqual([])
  })

  test.each([
    ['the crash policy is FAIL', { crashPolicy: 'FAIL' as const }],
    ['it was the last attempt', { maxAttempts: 1 }],
  ])('fails it when %s', async (_when, overrides) => {
    const strict = await seedAgent(db, overrides)
    const task = makeNewTask(strict)
    await transitions.create([task])
    await claimOne(task.id, strict)
    await expireLease(task.id)

    // What other tests have scheduled may be due by now.
    const repaired = (await reconcile()).filter(({ task: row }) => row.id === task.id)
    expect(repaired.map(({ task: row }) => [row.status, row.errorCode])).toEqual([['FAILED', 'WORKER_LOST']])
  })

  test('cancels what waits for an archived agent', async () => {
    const task = makeNewTask(agent)
    await transitions.create([task])
    await db.prisma.agent.update({ where: { id: agent.id }, data: { status: 'ARCHIVED' } })

    expect((await reconcile()).map(({ task: row }) => [row.status, row.reason])).toEqual([
      ['CANCELLED', 'The agent was archived.'],
    ])
  })

  test('gives way to no agent for ever: those whose tasks have waited longest are hinted at first', async () => {
    const agents = await Promise.all(Array.from({ length: 3 }, () => seedAgent(db)))
    const ages = [2, 3, 1]
    for (const [index, one] of agents.entries()) {
      const task = makeNewTask(one)
      await transitions.create([task])
      const queuedAt = new Date(Date.now() - (ages[index] ?? 0) * 86_400_000)
      await db.prisma.task.update({ where: { id: task.id }, data: { queuedAt } })
    }

    expect(await transitions.workspacesWithWork(3)).toEqual([1, 0, 2].map((index) => agents[index]?.workspaceId))
  })

  test('finds agents whose hints were lost', async () => {
    await transitions.create([makeNewTask(agent)])

    expect(await transitions.workspacesWithWork(1_000)).toContain(agent.workspaceId)
  })
})

function wish({ workspaceId }: Agent, count: number): Wish {
  return { workspaceId, leaseTokens: Array.from({ length: count }, () => newId()), again: false }
}

function claim(slots: number, of: Agent = agent) {
  return transitions.step({ ends: [], claims: [wish(of, slots)], processId, leaseMs })
}

async function claimOne(taskId: string, of: Agent = agent): Promise<ClaimedRun> {
  const { claimed } = await claim(1, of)
  const [run] = claimed
  if (run?.task.id !== taskId) throw new Error(`claimed ${run?.task.id ?? 'nothing'} instead of ${taskId}`)
  return run
}

function end(run: RunEnd) {
  return transitions.step({ ends: [run], claims: [], processId, leaseMs })
}

function endOf({ task, leaseToken }: ClaimedRun, overrides: Partial<RunEnd> = {}): RunEnd {
  return {
    taskId: task.id,
    leaseToken,
    outcome: 'SUCCEEDED',
    reason: null,
    retryDelayMs: null,
    error: null,
    output: null,
    outputJson: null,
    model: 'p/m',
    timeToFirstTokenMs: 12.5,
    calls: [],
    ...overrides,
  }
}

function callOf({ task }: ClaimedRun, id: string): RunEnd['calls'][number] {
  return {
    id,
    workspaceId: task.workspaceId,
    agentId: task.agentId,
    userId: null,
    taskId: task.id,
    attemptNumber: task.attempt,
    completionId: null,
    model: 'p/m',
    modelVersion: null,
    outcome: 'succeeded',
    status: 200,
    message: null,
    durationMs: 3,
    requestId: null,
    at: new Date(),
    // One more than a JSON number can say.
    usage: {
      inputTokens: 10,
      cachedInputTokens: 0,
      outputTokens: 5,
      reasoningTokens: 0,
      estimated: false,
      costNanoUsd: 9_007_199_254_740_993n,
    },
  }
}

const heartbeat = async (runs: readonly ClaimedRun[]) =>
  (
    await transitions.heartbeat(
      runs.map(({ task, leaseToken }) => ({ taskId: task.id, leaseToken })),
      leaseMs,
    )
  ).toSorted(
    (a, b) =>
      runs.findIndex(({ leaseToken }) => leaseToken === a.leaseToken) -
      runs.findIndex(({ leaseToken }) => leaseToken === b.leaseToken),
  )

const reconcile = () => transitions.reconcile({ cancelGraceMs: 60_000, limit: 100 })
const attempts = (taskId: string) => db.prisma.taskAttempt.findMany({ where: { taskId }, orderBy: { number: 'asc' } })
const content = (taskId: string) => db.prisma.taskContent.findUnique({ where: { taskId } })

async function expireLease(taskId: string): Promise<void> {
  await db.query(
    {
      name: 'test_expire',
      text: `UPDATE task SET lease_expires_at = clock_timestamp() - interval '1 second' WHERE id = $1`,
    },
    [taskId],
  )
}

async function writeChunks({ task }: ClaimedRun, texts: readonly string[]): Promise<void> {
  await db.prisma.outputSegment.create({ data: { taskId: task.id, segment: 1, attempt: task.attempt } })
  let offset = 0
  for (const text of texts) {
    await db.prisma.outputChunk.create({ data: { taskId: task.id, segment: 1, offset, length: text.length, text } })
    offset += text.length
  }
}
