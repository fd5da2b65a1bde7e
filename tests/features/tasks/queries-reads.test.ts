import { afterAll, expect, test } from 'vitest'
import { readAgentStats } from '../../../src/features/agents/agent-stats.ts'
import { readAgentLoads, readOutputs, readTaskEvents } from '../../../src/features/tasks/task-queries.ts'
import { readWorkspaceStats, utcMidnight } from '../../../src/features/workspaces/workspace-stats.ts'
import { newId } from '../../../src/lib/ids.ts'
import { startTestDatabase } from '../../support/test-database.ts'
import { insertAgent, insertTask, insertUser, later, start } from '../workspaces/rows.ts'
import { createTaskFixture } from './streams-fixture.ts'

const statements: string[] = []
const db = await startTestDatabase({ onStatement: (sql) => void statements.push(sql) })
afterAll(() => db[Symbol.asyncDispose]())

async function makeAgent() {
  const { workspaceId } = await insertUser(db)
  return { workspaceId, agentId: await insertAgent(db, workspaceId) }
}

const lease = () => ({ leaseToken: newId(), leaseExpiresAt: new Date(Date.now() + 60_000) })

test('the output is the latest segment so far, then the final text', async () => {
  const owner = await makeAgent()
  const [running, ended, silent] = [
    await insertTask(db, owner, { status: 'RUNNING', ...lease() }),
    await insertTask(db, owner),
    await insertTask(db, owner),
  ]
  const segment = (n: number, texts: string[]) => ({
    taskId: running,
    segment: n,
    attempt: n,
    chunks: { create: texts.map((text, i) => ({ offset: i * 10, length: text.length, text })) },
  })
  for (const data of [segment(1, ['dropped']), segment(2, ['a', 'b', 'c'])]) {
    await db.prisma.outputSegment.create({ data })
  }
  await db.prisma.taskContent.update({ where: { taskId: ended }, data: { output: 'all of it' } })
  statements.length = 0
  expect(await readOutputs(db, [silent, ended, running, ended])).toEqual([null, 'all of it', 'abc', 'all of it'])
  expect(statements).toHaveLength(1)
})

test('the output of a run whose first text has not come is that of no earlier one', async () => {
  const owner = await makeAgent()
  const taskId = await insertTask(db, owner, { status: 'RUNNING', ...lease() })
  await db.prisma.outputSegment.create({ data: { taskId, segment: 1, attempt: 1 } })
  expect(await readOutputs(db, [taskId])).toEqual([null])
})

test('an agent’s load counts live leases only, as the claim does', async () => {
  const owner = await makeAgent()
  const idle = await insertAgent(db, owner.workspaceId, { status: 'PAUSED', concurrency: 2 })
  for (let n = 0; n < 2; n += 1) await insertTask(db, owner, { status: 'RUNNING', ...lease() })
  await insertTask(db, owner, { status: 'RUNNING', leaseToken: newId(), leaseExpiresAt: start })
  expect(await readAgentLoads(db, [idle, newId(), owner.agentId])).toMatchObject([
    { status: 'PAUSED', concurrency: 2, running: 0 },
    null,
    { status: 'ACTIVE', concurrency: 10, running: 2 },
  ])
})

test('events come in their order, from a version on', async () => {
  const fixture = await createTaskFixture(db)
  const [first, second] = [await fixture.submit(), await fixture.submit()]
  await fixture.end(await fixture.claim(), 'SUCCEEDED')
  await fixture.cancel(second)
  const [ofSecond, ofFirst] = await readTaskEvents(db, [second, first], { version: 0, limit: 10 })
  expect(ofFirst?.map(({ type, version }) => [version, type])).toEqual([
    [1, 'CREATED'],
    [2, 'STARTED'],
    [3, 'SUCCEEDED'],
  ])
  expect(ofSecond?.at(-1)).toEqual({
    taskId: second,
    workspaceId: fixture.workspaceId,
    seq: 5,
    version: 2,
    type: 'CANCELLED',
    status: 'CANCELLED',
    attempt: 0,
    reason: null,
    at: expect.any(Date),
  })
  const [rest] = await readTaskEvents(db, [first], { version: 1, limit: 1 })
  expect(rest?.map(({ version }) => version)).toEqual([2, 3])
})

test('an agent’s statistics', async () => {
  const { workspaceId, agentId } = await makeAgent()
  const owner = { workspaceId, agentId }
  await insertTask(db, owner, { startedAt: later(0), finishedAt: later(2) })
  await insertTask(db, owner, { startedAt: later(0), finishedAt: later(4) })
  await insertTask(db, owner, { status: 'FAILED', startedAt: later(5), finishedAt: later(50) })
  await insertTask(db, owner, { status: 'QUEUED', queuedAt: start })
  await insertTask(db, owner, { status: 'RUNNING', startedAt: later(60), ...lease() })
  const idle = await insertAgent(db, workspaceId)
  statements.length = 0
  expect(await readAgentStats(db, [idle, agentId])).toEqual([
    { queued: 0, running: 0, succeeded: 0, failed: 0, averageDurationMs: null, lastActiveAt: null },
    { queued: 1, running: 1, succeeded: 2, failed: 1, averageDurationMs: 3_000, lastActiveAt: later(60) },
  ])
  expect(statements).toHaveLength(1)
})

test('a workspace’s statistics, of which the day’s begin at midnight UTC', async () => {
  const { workspaceId, agentId } = await makeAgent()
  const owner = { workspaceId, agentId }
  const midnight = utcMidnight(start)
  expect(midnight).toEqual(new Date('2026-03-01T00:00:00.000Z'))
  await insertTask(db, owner, { status: 'BLOCKED' })
  await insertTask(db, owner, { status: 'SCHEDULED', runAt: later(100) })
  await insertTask(db, owner, { status: 'QUEUED', queuedAt: later(5) })
  await insertTask(db, owner, { status: 'QUEUED', queuedAt: later(3) })
  await insertTask(db, owner, { status: 'RUNNING', ...lease() })
  await insertTask(db, owner, { finishedAt: midnight })
  await insertTask(db, owner, { finishedAt: new Date(midnight.getTime() - 1) })
  await insertTask(db, owner, { status: 'FAILED', finishedAt: start })
  const { workspaceId: empty } = await insertUser(db)
  statements.length = 0
  expect(await readWorkspaceStats(db, [empty, workspaceId], midnight)).toEqual([
    { blocked: 0, scheduled: 0, queued: 0, running: 0, succeededToday: 0, failedToday: 0, oldestQueuedAt: null },
    { blocked: 1, scheduled: 1, queued: 2, running: 1, succeededToday: 1, failedToday: 1, oldestQueuedAt: later(3) },
  ])
  expect(statements).toHaveLength(1)
})
