import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createTransitions, type Transitions } from '../../../src/features/tasks/engine/transitions.ts'
import type { NewTask } from '../../../src/features/tasks/engine/transition-input.ts'
import type { Agent, Task } from '../../../src/generated/prisma/client.ts'
import { makeNewTask, seedAgent } from '../../support/seed.ts'
import { startTestDatabase, type TestDatabase } from '../../support/test-database.ts'
import { createTestRuns, endOf, type TestRuns } from './runs.ts'

let db: TestDatabase
let transitions: Transitions
let runs: TestRuns

beforeAll(async () => {
  db = await startTestDatabase()
  transitions = createTransitions({ db })
  runs = createTestRuns(transitions)
})

afterAll(() => db[Symbol.asyncDispose]())

const maxTasks = 9

/** A task and the earlier ones that it depends on. */
const node = fc.record({
  dependsOn: fc.uniqueArray(fc.nat(maxTasks - 1), { maxLength: 3 }),
  policy: fc.constantFrom('SKIP', 'CANCEL', 'RUN'),
  succeeds: fc.boolean(),
})
/** What happens while they run: `at` says to which task. */
const act = fc.record({
  kind: fc.constantFrom('end', 'end', 'end two at once', 'cancel', 'retry', 'lose'),
  at: fc.nat(maxTasks - 1),
})

test(
  'no task of any graph stays blocked, whatever becomes of the others and in whatever order',
  { timeout: 180_000 },
  async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(node, { minLength: 2, maxLength: maxTasks }),
        fc.array(act, { maxLength: 14 }),
        async (nodes, acts) => {
          const agent = await seedAgent(db, { concurrency: 100, maxAttempts: 1 })
          const tasks = tasksOf(agent, nodes)
          await transitions.createGraph(tasks, null)
          const succeeds = new Map(tasks.map(({ id }, index) => [id, nodes[index]?.succeeds ?? true]))
          for (const { kind, at } of acts)
            await perform(kind, { agent, id: tasks[at % tasks.length]?.id ?? '', succeeds })
          while ((await endSome(agent, succeeds, 100)) > 0) await transitions.tellRest(100)
          await assertConsistent(agent)
        },
      ),
      // The seed and the smallest graph that fails are in the error. A slow machine tries fewer.
      { numRuns: 60, interruptAfterTimeLimit: 60_000, markInterruptAsFailure: false },
    )
  },
)

type Scene = { agent: Agent; id: string; succeeds: ReadonlyMap<string, boolean> }

async function perform(kind: string, { agent, id, succeeds }: Scene): Promise<void> {
  if (kind === 'cancel') await transitions.cancel([id], null)
  else if (kind === 'retry') await transitions.retry([id])
  else if (kind === 'end two at once') {
    const claimed = await runs.claim(agent.workspaceId, 2)
    await Promise.all(claimed.map((run) => runs.end(run, { outcome: outcomeOf(run.task.id, succeeds) })))
  } else if (kind === 'lose') {
    const [lost] = await runs.claim(agent.workspaceId)
    if (lost === undefined) return
    await db.prisma.task.update({ where: { id: lost.task.id }, data: { leaseExpiresAt: new Date(0) } })
    await transitions.reconcile({ cancelGraceMs: 60_000, limit: 100 })
  } else await endSome(agent, succeeds, 1)
}

async function endSome(agent: Agent, succeeds: Scene['succeeds'], slots: number): Promise<number> {
  const claimed = await runs.claim(agent.workspaceId, slots)
  await runs.endAll(claimed.map((run) => endOf(run, { outcome: outcomeOf(run.task.id, succeeds) })))
  return claimed.length
}

const outcomeOf = (id: string, succeeds: Scene['succeeds']) => (succeeds.get(id) === true ? 'SUCCEEDED' : 'FAILED')

function tasksOf(agent: Agent, nodes: readonly { dependsOn: readonly number[]; policy: 'SKIP' | 'CANCEL' | 'RUN' }[]) {
  const ids = nodes.map(() => makeNewTask(agent).id)
  return nodes.map(({ dependsOn, policy }, index): NewTask => {
    const earlier = dependsOn.flatMap((other) => (other < index ? (ids[other] ?? []) : []))
    return makeNewTask(agent, { id: ids[index] ?? '', dependsOn: earlier, onDependencyFailure: policy })
  })
}

async function assertConsistent({ id: agentId }: Agent): Promise<void> {
  const tasks = await db.prisma.task.findMany({
    where: { agentId },
    include: { dependencies: { include: { dependsOn: true } }, events: { orderBy: { version: 'asc' } } },
  })
  for (const { dependencies, events, ...task } of tasks) {
    const others = dependencies.map(({ dependsOn }) => dependsOn)
    expect(['SUCCEEDED', 'FAILED', 'CANCELLED', 'SKIPPED']).toContain(task.status)
    expect(events.map(({ version }) => version)).toEqual(Array.from({ length: task.version }, (_, n) => n + 1))
    expect(events.at(-1)?.status).toBe(task.status)
    expect(isRight(task, others), JSON.stringify({ task, others })).toBe(true)
  }
}

/** Whether a task could end as it has, given how those that it depends on have ended. */
function isRight(task: Task, others: readonly Task[]): boolean {
  const allSucceeded = others.every(({ status }) => status === 'SUCCEEDED')
  if (task.status === 'SKIPPED') return task.onDependencyFailure === 'SKIP' && !allSucceeded
  if (task.status !== 'CANCELLED') return task.onDependencyFailure === 'RUN' || allSucceeded
  return task.cancelRequestedAt !== null || (task.onDependencyFailure === 'CANCEL' && !allSucceeded)
}
