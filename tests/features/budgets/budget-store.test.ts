import { afterAll, expect, test } from 'vitest'
import { startBudgetHousekeeping } from '../../../src/features/budgets/budget-housekeeping.ts'
import { createBudgetStore } from '../../../src/features/budgets/budget-store.ts'
import { readBudgets } from '../../../src/features/budgets/budget-rows.ts'
import type { BudgetPeriod } from '../../../src/generated/prisma/client.ts'
import { createLedger, type RecordedCall } from '../../../src/features/usage/ledger.ts'
import { newId } from '../../../src/lib/ids.ts'
import { createLogger } from '../../../src/platform/logger.ts'
import { startTestDatabase } from '../../support/test-database.ts'
import { insertAgent, insertUsage, insertUser } from '../workspaces/rows.ts'

const db = await startTestDatabase()
afterAll(() => db[Symbol.asyncDispose]())
const store = createBudgetStore({ db })

const hourMs = 3_600_000

type BudgetFields = { agentId?: string; period?: BudgetPeriod; limit?: bigint; hard?: boolean }

async function setBudget(workspaceId: string, { agentId, period, limit, hard }: BudgetFields = {}): Promise<string> {
  const [row] = await db.prisma.$queryRaw<{ id: string }[]>`
    SELECT budget_set(${newId()}::uuid, ${workspaceId}::uuid, ${agentId ?? null}::uuid, ${period ?? 'DAY'}::budget_period,
                      ${limit ?? 100n}::bigint, ${hard ?? true}) AS id`
  return row?.id ?? ''
}

const reserve = (
  workspaceId: string,
  amountNanoUsd: bigint | null,
  more: { agentId?: string; ttlMs?: number } = {},
) => {
  const attemptId = newId()
  const call = { attemptId, workspaceId, amountNanoUsd, agentId: more.agentId ?? null, ttlMs: more.ttlMs ?? hourMs }
  return store.reserve(call).then((reservation) => ({ attemptId, ...reservation }))
}

async function moneyOf(budgetId: string): Promise<[spent: number, reserved: number]> {
  const [budget] = await readBudgets(db, [budgetId])
  return [budget?.spentNanoUsd ?? Number.NaN, budget?.reservedNanoUsd ?? Number.NaN]
}

test('has nothing to say where there is no budget', async () => {
  const { workspaceId } = await insertUser(db)
  const { workspaceId: other } = await insertUser(db)
  await setBudget(other)
  expect(await reserve(workspaceId, 5n)).toMatchObject({ outcome: 'none' })
})

test('reserves, and spends what a call has cost in the end', async () => {
  const { workspaceId } = await insertUser(db)
  const budgetId = await setBudget(workspaceId)
  const { attemptId, ...reservation } = await reserve(workspaceId, 60n)
  expect(reservation).toEqual({ outcome: 'reserved', hard: true })
  expect(await moneyOf(budgetId)).toEqual([0, 60])
  await store.settle(attemptId, 20n)
  expect(await moneyOf(budgetId)).toEqual([20, 0])
})

test('repeats change nothing', async () => {
  const { workspaceId } = await insertUser(db)
  const budgetId = await setBudget(workspaceId)
  const call = { attemptId: newId(), workspaceId, agentId: null, amountNanoUsd: 60n, ttlMs: hourMs }
  await store.reserve(call)
  expect(await store.reserve(call)).toEqual({ outcome: 'reserved', hard: true })
  expect(await moneyOf(budgetId)).toEqual([0, 60])
  await store.settle(call.attemptId, 20n)
  await store.settle(call.attemptId, 20n)
  expect(await moneyOf(budgetId)).toEqual([20, 0])
})

test('refuses what does not fit, says why and when it will', async () => {
  const { workspaceId } = await insertUser(db)
  const budgetId = await setBudget(workspaceId)
  const { attemptId } = await reserve(workspaceId, 60n)

  expect(await reserve(workspaceId, 41n)).toMatchObject({
    outcome: 'refused',
    budgetId,
    period: 'DAY',
    why: 'reserved',
    limitNanoUsd: 100,
    spentNanoUsd: 0,
    reservedNanoUsd: 60,
    freesInMs: 1_000,
  })
  await store.settle(attemptId, 60n)
  const spent = await reserve(workspaceId, 41n)
  expect(spent).toMatchObject({ outcome: 'refused', why: 'spent', freesInMs: expect.any(Number) })
  expect(spent.outcome === 'refused' && (spent.freesInMs ?? 0)).toBeLessThanOrEqual(24 * hourMs)
  expect(await reserve(workspaceId, 101n)).toMatchObject({ outcome: 'refused', why: 'too_large', freesInMs: null })
  expect(await reserve(workspaceId, null)).toMatchObject({ outcome: 'refused', why: 'price_unknown', freesInMs: null })
  expect(await reserve(workspaceId, 40n)).toMatchObject({ outcome: 'reserved' })
})

test('reserves in all budgets of the workspace and the agent, or in none', async () => {
  const { workspaceId } = await insertUser(db)
  const [agentId, otherId] = [await insertAgent(db, workspaceId), await insertAgent(db, workspaceId)]
  const month = await setBudget(workspaceId, { period: 'MONTH', limit: 100n })
  const agents = await setBudget(workspaceId, { agentId, limit: 30n })
  const others = await setBudget(workspaceId, { agentId: otherId, period: 'TOTAL', limit: 10n })

  expect(await reserve(workspaceId, 30n, { agentId })).toMatchObject({ outcome: 'reserved' })
  expect(await reserve(workspaceId, 1n, { agentId })).toMatchObject({ outcome: 'refused', budgetId: agents })
  expect(await reserve(workspaceId, 70n)).toMatchObject({ outcome: 'reserved' })
  expect(await reserve(workspaceId, 1n, { agentId: otherId })).toMatchObject({ outcome: 'refused', budgetId: month })
  expect(await Promise.all([month, agents, others].map(moneyOf))).toEqual([
    [0, 100],
    [0, 30],
    [0, 0],
  ])
})

test('a soft budget refuses nothing, not even an unknown price, and counts all the same', async () => {
  const { workspaceId } = await insertUser(db)
  const budgetId = await setBudget(workspaceId, { hard: false })
  const { attemptId, ...reservation } = await reserve(workspaceId, 500n)
  expect(reservation).toEqual({ outcome: 'reserved', hard: false })
  expect(await reserve(workspaceId, null)).toMatchObject({ outcome: 'reserved' })
  await store.settle(attemptId, 400n)
  expect(await moneyOf(budgetId)).toEqual([400, 0])
})

test('calls made at once never reserve more than there is', { timeout: 60_000 }, async () => {
  const { workspaceId } = await insertUser(db)
  const agentId = await insertAgent(db, workspaceId)
  const budgetId = await setBudget(workspaceId, { limit: 20n })
  await setBudget(workspaceId, { agentId, period: 'MONTH', limit: 1_000n })
  const calls = Array.from({ length: 200 }, (_, n) => reserve(workspaceId, 1n, n % 2 === 0 ? { agentId } : {}))
  const reserved = (await Promise.all(calls)).filter(({ outcome }) => outcome === 'reserved')
  expect(reserved).toHaveLength(20)
  expect(await moneyOf(budgetId)).toEqual([0, 20])
})

test('what nobody settles frees itself, and is counted should it be settled after all', async () => {
  const { workspaceId } = await insertUser(db)
  const budgetId = await setBudget(workspaceId)
  const { attemptId: lost } = await reserve(workspaceId, 100n, { ttlMs: 0 })
  expect(await moneyOf(budgetId)).toEqual([0, 0])
  const { attemptId, outcome } = await reserve(workspaceId, 100n)
  expect(outcome).toBe('reserved')
  await store.settle(lost, 30n)
  expect(await moneyOf(budgetId)).toEqual([30, 100])
  await store.settle(attemptId, 0n)
  expect(await moneyOf(budgetId)).toEqual([30, 0])
})

test('the ledger settles what was not settled before', async () => {
  const { workspaceId } = await insertUser(db)
  const budgetId = await setBudget(workspaceId)
  const { attemptId } = await reserve(workspaceId, 60n)
  const { attemptId: unspent } = await reserve(workspaceId, 10n)
  const ledger = createLedger({ db })
  const calls = [callOf(workspaceId, attemptId, 25n), callOf(workspaceId, unspent, null)]
  await ledger.record(calls)
  await ledger.record(calls)
  expect(await moneyOf(budgetId)).toEqual([25, 0])
})

function callOf(workspaceId: string, id: string, costNanoUsd: bigint | null): RecordedCall {
  const tokens = { inputTokens: 1, cachedInputTokens: 0, outputTokens: 1, reasoningTokens: 0, estimated: false }
  const owner = { workspaceId, agentId: null, userId: null, taskId: null, attemptNumber: null, completionId: null }
  const outcome = {
    outcome: 'succeeded',
    status: 200,
    message: null,
    durationMs: 1,
    requestId: null,
    modelVersion: null,
  }
  const usage = costNanoUsd === null ? null : { ...tokens, costNanoUsd }
  return { ...owner, ...outcome, id, model: 'a/m', at: new Date(), usage }
}

test('begins anew with every period', async () => {
  const { workspaceId } = await insertUser(db)
  const budgetId = await setBudget(workspaceId)
  const { attemptId } = await reserve(workspaceId, 100n)
  await store.settle(attemptId, 100n)
  expect(await reserve(workspaceId, 1n)).toMatchObject({ outcome: 'refused' })

  // As if that had been yesterday.
  await db.prisma
    .$executeRaw`UPDATE budget_balance SET period_start = period_start - interval '1 day' WHERE budget_id = ${budgetId}::uuid`
  expect(await reserve(workspaceId, 1n)).toMatchObject({ outcome: 'reserved' })
  expect(await moneyOf(budgetId)).toEqual([0, 1])
  expect(await firing(budgetId)).toEqual([])
})

test('a new budget begins with what the ledger has of its period, and of its agent', async () => {
  const { workspaceId } = await insertUser(db)
  const agentId = await insertAgent(db, workspaceId)
  const now = new Date()
  await insertUsage(db, { workspaceId, costNanoUsd: 10n, at: now })
  await insertUsage(db, { workspaceId, agentId, costNanoUsd: 5n, at: now })
  await insertUsage(db, { workspaceId, costNanoUsd: 100n, at: new Date('2020-01-01T00:00:00Z') })
  const budgets = [
    await setBudget(workspaceId),
    await setBudget(workspaceId, { period: 'TOTAL', limit: 1_000n }),
    await setBudget(workspaceId, { agentId }),
  ]
  expect(await Promise.all(budgets.map(moneyOf))).toEqual([
    [15, 0],
    [115, 0],
    [5, 0],
  ])
})

async function firing(budgetId: string): Promise<string[]> {
  const alerts = await db.prisma.alert.findMany({
    where: { rule: { startsWith: `budget:${budgetId}` }, state: 'FIRING' },
    orderBy: { threshold: 'asc' },
  })
  return alerts.map(({ rule }) => rule.slice(rule.lastIndexOf(':') + 1))
}

test('alerts once at 50, 80 and 100 %, and takes it back when the limit rises', async () => {
  const { workspaceId } = await insertUser(db)
  const budgetId = await setBudget(workspaceId, { hard: false })
  const spend = async (cost: bigint): Promise<number[]> => {
    const { attemptId } = await reserve(workspaceId, cost)
    return (await store.settle(attemptId, cost)).map(({ percent }) => percent)
  }
  expect([await spend(49n), await spend(1n), await spend(20n), await spend(60n), await spend(5n)]).toEqual([
    [],
    [50],
    [],
    [80, 100],
    [],
  ])
  expect(await firing(budgetId)).toEqual(['50', '80', '100'])
  await setBudget(workspaceId, { hard: false, limit: 200n })
  expect(await firing(budgetId)).toEqual(['50'])
})

test('forgets what is over for a week, and nothing else', async () => {
  const { workspaceId } = await insertUser(db)
  const budgetId = await setBudget(workspaceId)
  const { attemptId: old } = await reserve(workspaceId, 10n)
  await store.settle(old, 10n)
  const { attemptId: recent } = await reserve(workspaceId, 10n)
  await store.settle(recent, 10n)
  const { attemptId: live } = await reserve(workspaceId, 10n)
  await db.prisma.$executeRaw`
    UPDATE budget_reservation SET expires_at = now() - interval '8 days' WHERE model_attempt_id IN (${old}::uuid, ${live}::uuid)`
  const housekeeping = startBudgetHousekeeping({ db, logger: createLogger({ level: 'silent' }) })

  expect(await housekeeping.round()).toBe(1)

  const left = await db.prisma.budgetReservation.findMany({ where: { budgetId }, orderBy: { modelAttemptId: 'asc' } })
  expect(left.map(({ modelAttemptId }) => modelAttemptId)).toEqual([recent, live])
  expect(await housekeeping.round()).toBe(0)
  await housekeeping.stop()
})
