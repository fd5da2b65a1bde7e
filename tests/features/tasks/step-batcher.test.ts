import { afterAll, beforeAll, expect, test } from 'vitest'
import { createStepBatcher, type StepBatcher } from '../../../src/features/tasks/engine/step-batcher.ts'
import { createTransitions, type Transitions } from '../../../src/features/tasks/engine/transitions.ts'
import type { RunEnd, Wish } from '../../../src/features/tasks/engine/transition-input.ts'
import type { ClaimedRun } from '../../../src/features/tasks/engine/task-json.ts'
import { systemClock, type Clock } from '../../../src/lib/clock.ts'
import { newId } from '../../../src/lib/ids.ts'
import { captureLogs } from '../../support/log-capture.ts'
import { makeNewTask, seedAgent } from '../../support/seed.ts'
import { startTestDatabase, type TestDatabase } from '../../support/test-database.ts'

let db: TestDatabase
let transitions: Transitions

beforeAll(async () => {
  db = await startTestDatabase()
  transitions = createTransitions({ db })
})

afterAll(() => db[Symbol.asyncDispose]())

const leaseMs = 12_000

function createBatcher(steps: Pick<Transitions, 'step'> = transitions, clock: Clock = systemClock): StepBatcher {
  return createStepBatcher({
    transitions: { ...transitions, ...steps },
    announcer: { announce: async () => undefined },
    clock,
    newId,
    logger: captureLogs().logger,
    processId: newId(),
    leaseMs,
    maxUnderWay: 2,
  })
}

function released({ task, leaseToken }: ClaimedRun): RunEnd {
  const nothing = { retryDelayMs: null, error: null, output: null, outputJson: null, model: null, calls: [] }
  return { ...nothing, taskId: task.id, leaseToken, outcome: 'RELEASED', reason: null, timeToFirstTokenMs: null }
}

test('an end is not refused for a claim that the database refuses', async () => {
  const agent = await seedAgent(db)
  await transitions.create([makeNewTask(agent)])
  const steps = createBatcher()
  const [run] = await steps.claim(agent.workspaceId, 1)
  if (run === undefined) throw new Error('nothing was claimed')

  const [ended, claimed] = await Promise.all([steps.end(released(run), null), steps.claim('not an id', 1)])

  expect([ended, claimed]).toEqual([true, []])
})

test('a step does not wait for a slower one', async () => {
  const agents = await Promise.all([seedAgent(db), seedAgent(db), seedAgent(db)])
  await transitions.create(agents.map((agent) => makeNewTask(agent)))
  let letGo = (): void => {}
  const slow = new Promise<void>((resolve) => (letGo = resolve))
  let begun = 0
  const steps = createBatcher({
    async step(step) {
      begun += 1
      if (begun === 1) await slow
      return transitions.step(step)
    },
  })
  const claim = (index: number): Promise<ClaimedRun[]> => steps.claim(agents[index]?.workspaceId ?? '', 1)

  const first = claim(0)
  await new Promise((resolve) => setImmediate(resolve))
  expect(await claim(1)).toHaveLength(1)
  const second = claim(2)
  expect(await second).toHaveLength(1)
  letGo()

  expect(await first).toHaveLength(1)
  await steps.close()
  expect(begun).toBe(3)
})

test.each([
  { what: 'is ours again when nobody has taken it', isTaken: false, claimedCount: 1 },
  { what: 'is not ours when somebody has', isTaken: true, claimedCount: 0 },
])('a claim whose answer took longer than half a lease $what', async ({ isTaken, claimedCount }) => {
  const agent = await seedAgent(db)
  await transitions.create([makeNewTask(agent)])
  const again: boolean[] = []
  let sleptMs = 0
  const steps = createBatcher(
    {
      async step(step) {
        again.push(...step.claims.map((wish) => wish.again))
        const result = await transitions.step(step)
        // The process was stopped between the answer and reading it.
        if (sleptMs === 0) {
          sleptMs = 30_000
          if (isTaken) await transitions.step({ ...step, ends: result.claimed.map(released), claims: [] })
          if (isTaken) await transitions.step({ ...step, claims: [elsewhere(agent.workspaceId)] })
        }
        return result
      },
    },
    { ...systemClock, monotonicMs: () => systemClock.monotonicMs() + sleptMs },
  )

  const claimed = await steps.claim(agent.workspaceId, 1)

  expect(again).toEqual([false, true])
  expect(claimed).toHaveLength(claimedCount)
  await steps.close()
})

const elsewhere = (workspaceId: string): Wish => ({ workspaceId, leaseTokens: [newId()], again: false })
