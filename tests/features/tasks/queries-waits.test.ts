import { afterAll, beforeAll, expect, test } from 'vitest'
import { createTransitions } from '../../../src/features/tasks/engine/transitions.ts'
import { readAhead, readBlockers } from '../../../src/features/tasks/task-waits.ts'
import { makeNewTask, seedAgent } from '../../support/seed.ts'
import { startTestDatabase, type TestDatabase } from '../../support/test-database.ts'

let db: TestDatabase

beforeAll(async () => {
  db = await startTestDatabase()
})
afterAll(() => db[Symbol.asyncDispose]())

test('names what has not ended, in the order that was asked for, three at most', async () => {
  const agent = await seedAgent(db)
  const names = ['Fetch', null, 'Done', 'Load', 'Check']
  const dependencies = names.map((name) => makeNewTask(agent, { name, prompt: `Parse ${'x'.repeat(80)}\nand more` }))
  const [many, one, none] = [makeNewTask(agent), makeNewTask(agent), makeNewTask(agent)]
  await createTransitions({ db }).create([...dependencies, many, one, none])
  const done = dependencies[2]?.id ?? ''
  await db.prisma.task.update({ where: { id: done }, data: { status: 'SUCCEEDED', finishedAt: new Date() } })
  const rows = dependencies.map(({ id }, position) => ({ taskId: many.id, dependsOnId: id, position }))
  const last = { taskId: one.id, dependsOnId: dependencies[4]?.id ?? '', position: 0 }
  await db.prisma.taskDependency.createMany({ data: [...rows, last] })

  expect(await readBlockers(db, [one.id, none.id, many.id, one.id])).toMatchObject([
    { count: 1, names: ['Check'] },
    null,
    { count: 4, names: ['Fetch', `Parse ${'x'.repeat(54)}`, 'Load'] },
    { count: 1, names: ['Check'] },
  ])
})

test('counts those of the same agent that are claimed first, up to a hundred', async () => {
  const [agent, other] = [await seedAgent(db), await seedAgent(db)]
  const tasks = Array.from({ length: 104 }, (_, index) => makeNewTask(agent, { priority: index === 103 ? 50 : 0 }))
  await createTransitions({ db }).create([...tasks, makeNewTask(other, { priority: 100 })])
  const ids = [0, 7, 102, 103].map((index) => tasks[index]?.id ?? '')

  // The last one has the highest priority, so everybody is one further behind.
  expect(await readAhead(db, ids)).toEqual([1, 8, 100, 0])
})
