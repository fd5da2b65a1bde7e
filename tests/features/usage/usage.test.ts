import { afterAll, expect, test } from 'vitest'
import { createUsage, noUsage } from '../../../src/features/usage/usage.ts'
import { newId } from '../../../src/lib/ids.ts'
import { startTestDatabase } from '../../support/test-database.ts'
import { insertUsage, insertUser, later, start } from '../workspaces/rows.ts'

const statements: string[] = []
const db = await startTestDatabase({ onStatement: (sql) => void statements.push(sql) })
afterAll(() => db[Symbol.asyncDispose]())
const usage = createUsage({ db })

const one = {
  inputTokens: 100,
  cachedInputTokens: 10,
  outputTokens: 50,
  reasoningTokens: 20,
  totalTokens: 150,
  estimated: false,
  costUsd: 0.001,
  savedUsd: 0,
}

test('sums the calls of each task, in one statement, in the order of the keys', async () => {
  const { workspaceId } = await insertUser(db)
  const [first, second, unused] = [newId(), newId(), newId()]
  await insertUsage(db, { workspaceId, taskId: first, attemptNumber: 1, savedNanoUsd: 500_000_000n })
  await insertUsage(db, { workspaceId, taskId: first, attemptNumber: 2, estimated: true })
  await insertUsage(db, { workspaceId, taskId: second, attemptNumber: 1 })
  statements.length = 0
  const totals = await usage.byTask([second, unused, first, second])
  expect(statements).toHaveLength(1)
  const both = {
    inputTokens: 200,
    cachedInputTokens: 20,
    outputTokens: 100,
    reasoningTokens: 40,
    totalTokens: 300,
    estimated: true,
    costUsd: 0.002,
    savedUsd: 0.5,
  }
  expect(totals).toEqual([one, noUsage, both, one])
})

test('does not know the cost when it does not know one price', async () => {
  const { workspaceId } = await insertUser(db)
  const taskId = newId()
  await insertUsage(db, { workspaceId, taskId, attemptNumber: 1 })
  await insertUsage(db, { workspaceId, taskId, attemptNumber: 1, costNanoUsd: null })
  expect(await usage.byTask([taskId])).toMatchObject([{ totalTokens: 300, costUsd: null }])
})

test('sums by attempt, once for a key that is asked for twice', async () => {
  const { workspaceId } = await insertUser(db)
  const taskId = newId()
  await insertUsage(db, { workspaceId, taskId, attemptNumber: 1 })
  await insertUsage(db, { workspaceId, taskId, attemptNumber: 2 })
  await insertUsage(db, { workspaceId, taskId, attemptNumber: 2 })
  const second = { taskId, number: 2 }
  const totals = await usage.byAttempt([second, { taskId, number: 1 }, second, { taskId, number: 3 }])
  expect(totals.map(({ totalTokens }) => totalTokens)).toEqual([300, 150, 300, 0])
})

test('sums by agent, by completion, and by workspace from a time on', async () => {
  const { workspaceId } = await insertUser(db)
  const [agentId, completionId] = [newId(), newId()]
  await insertUsage(db, { workspaceId, agentId, at: later(-1) })
  await insertUsage(db, { workspaceId, completionId, at: start })
  expect(await usage.byAgent([agentId])).toEqual([one])
  expect(await usage.byCompletion([completionId])).toEqual([one])
  expect(await usage.byWorkspace([workspaceId], start)).toEqual([one])
})

test('sums beyond 32 bits', async () => {
  const { workspaceId } = await insertUser(db)
  const taskId = newId()
  const most = { inputTokens: 2_147_483_647, costNanoUsd: 9_000_000_000_000_000n }
  for (let n = 0; n < 3; n += 1) await insertUsage(db, { workspaceId, taskId, attemptNumber: 1, ...most })
  expect(await usage.byTask([taskId])).toMatchObject([{ inputTokens: 6_442_450_941, costUsd: 27_000_000 }])
})

test('asks nothing for nobody', async () => {
  statements.length = 0
  expect(await usage.byTask([])).toEqual([])
  expect(statements).toEqual([])
})
