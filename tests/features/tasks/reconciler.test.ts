import { expect, test } from 'vitest'
import { createReconciler, type ReconcilerDeps } from '../../../src/features/tasks/engine/reconciler.ts'
import { createTransitions } from '../../../src/features/tasks/engine/transitions.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { captureLogs } from '../../support/log-capture.ts'
import { makeNewTask, seedAgent } from '../../support/seed.ts'
import { startTestDatabase, type TestDatabase } from '../../support/test-database.ts'
import { until } from '../../support/until.ts'

/** A reconciler that counts what it asks of the database. */
function createCounted(db: TestDatabase, overrides: Partial<ReconcilerDeps['transitions']> = {}) {
  const transitions = { ...createTransitions({ db }), ...overrides }
  const counts = { rounds: 0, hintRounds: 0, looks: 0 }
  const reconciler = createReconciler({
    transitions: {
      ...transitions,
      async reconcile(options) {
        counts.rounds += 1
        return transitions.reconcile(options)
      },
      async workspacesWithWork(limit) {
        counts.hintRounds += 1
        return transitions.workspacesWithWork(limit)
      },
      async nextDueInMs() {
        counts.looks += 1
        return transitions.nextDueInMs()
      },
    },
    announcer: { announce: async () => undefined },
    dispatch: { hint: async () => undefined, consume: () => async () => undefined, close: async () => undefined },
    clock: systemClock,
    logger: captureLogs().logger,
  })
  return { reconciler, transitions, counts }
}

test('queues what is due before the next regular round, and nothing is looked for twice', async () => {
  await using db = await startTestDatabase()
  const { reconciler, transitions, counts } = createCounted(db)
  const agent = await seedAgent(db)
  const task = makeNewTask(agent, { runAt: new Date(Date.now() + 600) })
  const later = Array.from({ length: 50 }, () => makeNewTask(agent, { runAt: new Date(Date.now() + 3_600_000) }))
  reconciler.start()
  await until(
    'the first round is over',
    async () => counts.looks,
    (looks) => looks > 0,
  )

  await transitions.create([task, ...later])
  for (let n = 0; n < 50; n += 1) reconciler.scheduled()
  const read = () => db.prisma.task.findUniqueOrThrow({ where: { id: task.id } })
  await until('the task is due', read, ({ status }) => status === 'QUEUED', 1_500)
  await reconciler.stop()

  // The first ones, and those for the task; what was scheduled fifty times is looked at together.
  expect(counts.rounds).toBeLessThanOrEqual(5)
  expect(counts.hintRounds).toBeLessThanOrEqual(2)
  expect(counts.looks).toBeLessThanOrEqual(8)
})

test('does not run hot over a task that is due and cannot be queued', async () => {
  await using db = await startTestDatabase()
  const { reconciler, counts } = createCounted(db, { nextDueInMs: async () => -1_000 })
  const startedMs = performance.now()
  reconciler.start()
  await until(
    'it comes back to it',
    async () => counts.rounds,
    (rounds) => rounds >= 20,
  )
  await reconciler.stop()

  expect(performance.now() - startedMs).toBeGreaterThan(19 * 20)
})

test('a round that is asked for during another one comes after it', async () => {
  await using db = await startTestDatabase()
  const { reconciler, transitions } = createCounted(db)
  const agent = await seedAgent(db)
  for (let n = 0; n < 10; n += 1) {
    const task = makeNewTask(agent)
    const first = reconciler.reconcile()
    await transitions.create([task])
    await db.prisma.agent.update({ where: { id: agent.id }, data: { status: 'ARCHIVED' } })
    await reconciler.reconcile()

    expect(await db.prisma.task.findUniqueOrThrow({ where: { id: task.id } })).toMatchObject({ status: 'CANCELLED' })
    await first
    await db.prisma.agent.update({ where: { id: agent.id }, data: { status: 'ACTIVE' } })
  }
  await reconciler.stop()
})
