import { afterAll, beforeEach, expect, test } from 'vitest'
import { startCompletionHousekeeping } from '../../src/features/completions/completion-housekeeping.ts'
import type { Prisma } from '../../src/generated/prisma/client.ts'
import { newId } from '../../src/lib/ids.ts'
import { createLogger } from '../../src/platform/logger.ts'
import { startTestDatabase } from '../support/test-database.ts'
import { until } from '../support/until.ts'
import { insertUser } from './workspaces/rows.ts'

const db = await startTestDatabase()
afterAll(() => db[Symbol.asyncDispose]())
beforeEach(async () => {
  await db.prisma.completion.deleteMany()
})

const logger = createLogger({ level: 'silent' })
const dayMs = 86_400_000
const daysAgo = (days: number): Date => new Date(Date.now() - days * dayMs)

async function insertCompletion(more: Partial<Prisma.CompletionUncheckedCreateInput>): Promise<string> {
  const { viewer, workspaceId } = await insertUser(db)
  const id = newId()
  await db.prisma.completion.create({
    data: { id, workspaceId, userId: viewer.userId, status: 'SUCCEEDED', ...more },
  })
  return id
}

async function left(): Promise<string[]> {
  const rows = await db.prisma.completion.findMany({ select: { id: true }, orderBy: { id: 'asc' } })
  return rows.map(({ id }) => id)
}

test('forgets completions that have ended for longer than they are kept, with a key or without', async () => {
  const old = { createdAt: daysAgo(40), finishedAt: daysAgo(31) }
  await insertCompletion({ ...old, key: 'a', text: 'gone' })
  await insertCompletion({ ...old, status: 'FAILED' })
  await insertCompletion({ ...old, status: 'CANCELLED', key: 'b' })
  const kept = await insertCompletion({ createdAt: daysAgo(40), finishedAt: daysAgo(29), key: 'c' })
  const housekeeping = startCompletionHousekeeping({ db, logger, keptDays: 30 })

  expect(await housekeeping.round()).toBe(3)

  expect(await left()).toEqual([kept])
  expect(await housekeeping.round()).toBe(0)
  await housekeeping.stop()
})

test('forgets what a lost process left behind, and never what is running', async () => {
  const running = { status: 'RUNNING' as const, createdAt: daysAgo(31) }
  await insertCompletion({ ...running, key: 'a', leaseToken: newId(), leaseExpiresAt: daysAgo(30.5) })
  const live = await insertCompletion({ ...running, key: 'b', leaseToken: newId(), leaseExpiresAt: daysAgo(-0.01) })
  const lately = await insertCompletion({ ...running, key: 'c', leaseToken: newId(), leaseExpiresAt: daysAgo(1) })
  const housekeeping = startCompletionHousekeeping({ db, logger, keptDays: 30 })

  await housekeeping.round()

  expect(await left()).toEqual([live, lately].toSorted())
  await housekeeping.stop()
})

test('takes texts and attempts with them, and leaves the ledger alone', async () => {
  const completionId = await insertCompletion({ finishedAt: daysAgo(31), key: 'a' })
  const { workspaceId } = await db.prisma.completion.findUniqueOrThrow({ where: { id: completionId } })
  const id = newId()
  await db.prisma.completionSegment.create({ data: { completionId, segment: 1, model: 'a/m' } })
  await db.prisma.completionChunk.create({ data: { completionId, segment: 1, offset: 0, length: 2, text: 'Hi' } })
  await db.prisma.modelAttempt.create({
    data: { id, completionId, model: 'a/m', outcome: 'succeeded', durationMs: 1, at: daysAgo(31) },
  })
  const tokens = { inputTokens: 1, cachedInputTokens: 0, outputTokens: 1, reasoningTokens: 0, estimated: false }
  await db.prisma.usageRecord.create({
    data: { id, completionId, workspaceId, model: 'a/m', ...tokens, costNanoUsd: 7n, at: daysAgo(31) },
  })
  const housekeeping = startCompletionHousekeeping({ db, logger, keptDays: 30 })

  await housekeeping.round()

  expect(await db.prisma.completionSegment.count({ where: { completionId } })).toBe(0)
  expect(await db.prisma.modelAttempt.count({ where: { completionId } })).toBe(0)
  expect(await db.prisma.usageRecord.count({ where: { completionId } })).toBe(1)
  await housekeeping.stop()
})

test('does so by itself, time and again', async () => {
  const housekeeping = startCompletionHousekeeping({ db, logger, keptDays: 30, everyMs: 10 })
  for (const key of ['a', 'b']) {
    await insertCompletion({ finishedAt: daysAgo(31), key })
    await until('the completion is forgotten', left, (ids) => ids.length === 0)
  }
  await housekeeping.stop()
})
