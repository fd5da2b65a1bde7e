import { afterAll, beforeAll, expect, test } from 'vitest'
import { newId } from '../../../src/lib/ids.ts'
import { isCheckViolation, isUniqueViolation, sqlStateOf } from '../../../src/platform/database/database-errors.ts'
import { startTestDatabase } from '../../support/test-database.ts'
import type { TestDatabase } from '../../support/test-database.ts'

let db: TestDatabase
const workspaceId = newId()
const agentId = newId()
const userId = newId()

beforeAll(async () => {
  db = await startTestDatabase()
  await db.prisma.user.create({ data: { id: userId, email: 'ada@example.org', passwordHash: 'x' } })
  await db.prisma.workspace.create({ data: { id: workspaceId, name: 'W' } })
  await db.prisma.agent.create({ data: agent({ id: agentId }) })
})
afterAll(() => db[Symbol.asyncDispose]())

const agent = (more: Record<string, unknown> = {}) => ({
  id: newId(),
  workspaceId,
  name: 'A',
  instructions: 'Answer.',
  models: [],
  concurrency: 1,
  maxAttempts: 1,
  retryInitialDelayMs: 0,
  retryMaxDelayMs: 0,
  timeoutMs: 1,
  ...more,
})

const task = (more: Record<string, unknown> = {}) => ({
  id: newId(),
  workspaceId,
  agentId,
  status: 'QUEUED' as const,
  queuedAt: new Date(),
  timeoutMs: 1,
  maxAttempts: 1,
  ...more,
})

const key = (more: Record<string, unknown> = {}) => ({
  id: newId(),
  purpose: 'CSRF' as const,
  state: 'CURRENT' as const,
  encryptedValue: 'x',
  ...more,
})

const budget = (more: Record<string, unknown> = {}) => ({
  id: newId(),
  workspaceId,
  period: 'DAY' as const,
  limitNanoUsd: 1n,
  ...more,
})

const alert = (more: Record<string, unknown> = {}) => ({
  id: newId(),
  rule: 'queue-too-long',
  state: 'FIRING' as const,
  message: 'm',
  value: 2,
  threshold: 1,
  ...more,
})

const lease = { leaseToken: newId(), leaseExpiresAt: new Date() }

test.each([
  ['task_priority_range', () => db.prisma.task.create({ data: task({ priority: 101 }) })],
  ['task_priority_range', () => db.prisma.task.create({ data: task({ priority: -101 }) })],
  ['task_attempts_range', () => db.prisma.task.create({ data: task({ attempt: 1, attemptsUsed: 2 }) })],
  ['task_unmet_dependencies_range', () => db.prisma.task.create({ data: task({ unmetDependencies: -1 }) })],
  ['task_max_attempts_range', () => db.prisma.task.create({ data: task({ maxAttempts: 0 }) })],
  ['task_lease_while_running', () => db.prisma.task.create({ data: task({ status: 'RUNNING' }) })],
  ['task_lease_while_running', () => db.prisma.task.create({ data: task(lease) })],
  ['task_lease_whole', () => db.prisma.task.create({ data: task({ leaseExpiresAt: new Date() }) })],
  ['task_queued_at_while_queued', () => db.prisma.task.create({ data: task({ queuedAt: null }) })],
  ['task_run_at_while_scheduled', () => db.prisma.task.create({ data: task({ status: 'SCHEDULED' }) })],
  ['task_idempotency_whole', () => db.prisma.task.create({ data: task({ idempotencyKey: 'k' }) })],
  ['agent_concurrency_range', () => db.prisma.agent.create({ data: agent({ concurrency: 0 }) })],
  ['agent_max_attempts_range', () => db.prisma.agent.create({ data: agent({ maxAttempts: 0 }) })],
  ['agent_limits_range', () => db.prisma.agent.create({ data: agent({ tokensPerMinute: 0 }) })],
  ['budget_limit_range', () => db.prisma.budget.create({ data: budget({ limitNanoUsd: -1n }) })],
  [
    'feature_flag_rollout_range',
    () => db.prisma.featureFlag.create({ data: { key: 'f', enabled: true, rolloutPercent: 101 } }),
  ],
  [
    'model_attempt_attempt_whole',
    () =>
      db.prisma.$executeRaw`INSERT INTO model_attempt (id, attempt_number, model, outcome, duration_ms)
        VALUES (${newId()}::uuid, 1, 'demo/demo', 'SUCCESS', 1)`,
  ],
])('%s refuses what is out of range', async (constraint, attempt) => {
  const failure = await attempt().catch((error: unknown) => error)
  expect(isCheckViolation(failure, constraint)).toBe(true)
})

test.each([
  [
    'key_row_current_key',
    () => db.prisma.keyRow.create({ data: key() }),
    () => db.prisma.keyRow.create({ data: key({ state: 'NEXT' }) }),
  ],
  [
    'alert_firing_key',
    () => db.prisma.alert.create({ data: alert() }),
    () => db.prisma.alert.create({ data: alert({ state: 'RESOLVED' }) }),
  ],
  [
    'budget_workspace_period_key',
    () => db.prisma.budget.create({ data: budget() }),
    () => db.prisma.budget.create({ data: budget({ period: 'MONTH' }) }),
  ],
  [
    'budget_agent_period_key',
    () => db.prisma.budget.create({ data: budget({ agentId }) }),
    () => db.prisma.budget.create({ data: budget({ agentId, period: 'MONTH' }) }),
  ],
])('%s allows one, and as many others', async (constraint, create, createOther) => {
  await create()
  await createOther()
  expect(isUniqueViolation(await create().catch((error: unknown) => error), constraint)).toBe(true)
})

test('the audit trail takes rows, and lets none be changed or removed', async () => {
  const data = { id: newId(), action: 'test', actorId: userId }
  await db.prisma.auditEvent.create({ data })
  for (const attempt of [
    db.prisma.auditEvent.updateMany({ data: { action: 'other' } }),
    db.prisma.auditEvent.deleteMany(),
    db.prisma.$executeRaw`DELETE FROM audit_event WHERE action = 'none'`,
    db.prisma.$executeRaw`TRUNCATE audit_event`,
    db.prisma.$executeRaw`TRUNCATE app_user CASCADE`,
  ]) {
    expect(sqlStateOf(await attempt.catch((error: unknown) => error))).toBe('42501')
  }
  expect(await db.prisma.auditEvent.findMany({ select: { action: true } })).toEqual([{ action: 'test' }])
})

test('tasks are claimed by priority, which grows by a point in 30 seconds', async () => {
  const at = (seconds: number) => new Date(Date.UTC(2026, 0, 1, 0, 0, seconds))
  await db.prisma.task.deleteMany()
  await db.prisma.task.createMany({
    data: [
      task({ name: 'later', queuedAt: at(60) }),
      task({ name: 'first', queuedAt: at(0) }),
      task({ name: 'urgent', queuedAt: at(45), priority: 2 }),
      task({ name: 'low', queuedAt: at(0), priority: -1 }),
    ],
  })
  const text = `SELECT name, claim_order FROM task WHERE agent_id = $1 AND status = 'QUEUED' ORDER BY claim_order`
  expect(await db.query({ name: 'order', text }, [agentId])).toEqual([
    { name: 'urgent', claim_order: at(-15) },
    { name: 'first', claim_order: at(0) },
    { name: 'low', claim_order: at(30) },
    { name: 'later', claim_order: at(60) },
  ])
})
