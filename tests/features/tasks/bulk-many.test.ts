import { afterAll, expect, test } from 'vitest'
import type { Database } from '../../../src/platform/database/database.ts'
import { hasServers } from '../../support/shared-servers.ts'
import { startTestApp } from '../../support/test-app.ts'
import { insertTask, type TaskOwner } from '../workspaces/rows.ts'
import { fillWorkspace, rowId } from './graphql-fixture.ts'

const app = await startTestApp()
afterAll(() => app[Symbol.asyncDispose]())

const many = 100_000
/** What somebody else's task may wait meanwhile: far more than one batch holds its locks. */
const patienceMs = 10_000

/** Copies of one task, made by the database. */
async function insertCopies(db: Database, owner: TaskOwner): Promise<void> {
  const taskId = await insertTask(db, owner, {
    name: 'many',
    status: 'SCHEDULED',
    runAt: new Date(Date.now() + 3_600_000),
    finishedAt: null,
  })
  await db.query(
    {
      name: 'copy_task',
      text: `WITH copied AS (
               INSERT INTO task (id, workspace_id, agent_id, name, status, run_at, timeout_ms, max_attempts, created_at)
               SELECT gen_random_uuid(), workspace_id, agent_id, name, status, run_at, timeout_ms, max_attempts,
                      created_at + n * interval '1 millisecond'
                 FROM task, generate_series(2, $2::int) AS n WHERE id = $1
               RETURNING id)
             INSERT INTO task_content (task_id, prompt) SELECT id, 'One of many.' FROM copied`,
    },
    [taskId, many],
  )
}

type Bulk = { count: number; hasMore: boolean }

// A minute on a server; on the embedded database it would be ten.
test.runIf(hasServers)('100 000 tasks are cancelled while others’ tasks run', { timeout: 600_000 }, async () => {
  const { db } = app.services
  const [crowd, other] = [await app.signUp(), await app.signUp()]
  const [ids, otherIds] = [await fillWorkspace(app, crowd), await fillWorkspace(app, other)]
  const owner = { workspaceId: rowId(ids.workspace), agentId: rowId(ids.agent) }
  await insertCopies(db, owner)

  let isDone = false
  const waits: number[] = []
  async function runOthers(): Promise<void> {
    while (!isDone) {
      const startedMs = performance.now()
      const input = { agentId: otherIds.agent, prompt: 'Say something.' }
      const { createTask } = await app.data<{ createTask: { task: { id: string } } }>(
        'mutation ($input: CreateTaskInput!) { createTask(input: $input) { task { id } } }',
        { input },
        { token: other.token },
      )
      await expect
        .poll(
          async () => (await db.prisma.task.findUniqueOrThrow({ where: { id: rowId(createTask.task.id) } })).attempt,
          { timeout: patienceMs, message: 'the other task runs' },
        )
        .toBe(1)
      waits.push(performance.now() - startedMs)
    }
  }

  async function cancelAll(): Promise<number> {
    let count = 0
    for (let hasMore = true; hasMore;) {
      const { cancelTasks } = await app.data<{ cancelTasks: Bulk }>(
        'mutation ($input: BulkTasksInput!) { cancelTasks(input: $input) { count hasMore } }',
        { input: { filter: { agentId: ids.agent, search: 'many' }, limit: 2_000 } },
        { token: crowd.token },
      )
      count += cancelTasks.count
      hasMore = cancelTasks.hasMore
    }
    return count
  }

  const others = runOthers()
  try {
    expect(await cancelAll()).toBe(many)
  } finally {
    isDone = true
  }
  await others

  const events = await db.prisma.taskEvent.count({ where: { workspaceId: owner.workspaceId, type: 'CANCELLED' } })
  expect(events).toBe(many)
  expect(waits.length).toBeGreaterThan(3)
  expect(Math.max(...waits)).toBeLessThan(patienceMs)
})
