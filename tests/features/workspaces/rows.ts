import type { Prisma } from '../../../src/generated/prisma/client.ts'
import type { Viewer } from '../../../src/features/accounts/viewer.ts'
import { newId } from '../../../src/lib/ids.ts'
import type { Database } from '../../../src/platform/database/database.ts'

/** Rows as services would leave them, written directly: for tests of what reads them. */
export const start = new Date('2026-03-01T12:00:00.000Z')

export const later = (seconds: number): Date => new Date(start.getTime() + seconds * 1_000)

export type TestWorkspace = { viewer: Viewer; workspaceId: string }

/** A user with a workspace of their own that counts as their personal one. */
export async function insertUser(db: Database): Promise<TestWorkspace> {
  const [userId, workspaceId] = [newId(), newId()]
  await db.prisma.user.create({ data: { id: userId, email: `${userId}@example.com`, passwordHash: '-' } })
  await db.prisma.workspace.create({
    data: {
      id: workspaceId,
      name: 'Personal',
      personalOfId: userId,
      counter: { create: {} },
      members: { create: { id: newId(), userId, role: 'OWNER' } },
    },
  })
  return { viewer: { userId, sessionId: newId(), role: 'USER' }, workspaceId }
}

export async function insertMember(db: Database, workspaceId: string, role: 'OWNER' | 'MEMBER' | 'VIEWER') {
  const { viewer } = await insertUser(db)
  await db.prisma.workspaceMember.create({ data: { id: newId(), workspaceId, userId: viewer.userId, role } })
  return viewer
}

export async function insertAgent(
  db: Database,
  workspaceId: string,
  overrides: Partial<Prisma.AgentUncheckedCreateInput> = {},
): Promise<string> {
  const id = newId()
  const limits = { concurrency: 10, maxAttempts: 3, retryInitialDelayMs: 0, retryMaxDelayMs: 0, timeoutMs: 60_000 }
  await db.prisma.agent.create({
    data: { id, workspaceId, name: 'Agent', instructions: '-', models: [], ...limits, ...overrides },
  })
  return id
}

export type TaskOwner = { workspaceId: string; agentId: string }

/** A task that nobody will run: succeeded, unless something else is asked for. */
export async function insertTask(
  db: Database,
  { workspaceId, agentId }: TaskOwner,
  { prompt = 'Say something.', ...overrides }: Partial<Prisma.TaskUncheckedCreateInput> & { prompt?: string } = {},
): Promise<string> {
  const id = newId()
  await db.prisma.task.create({
    data: {
      id,
      workspaceId,
      agentId,
      status: 'SUCCEEDED',
      timeoutMs: 60_000,
      maxAttempts: 3,
      createdAt: start,
      content: { create: { prompt } },
      ...overrides,
    },
  })
  return id
}

/** An attempt with one model call that cost a thousandth of a dollar. */
export async function insertAttempt(
  db: Database,
  { workspaceId, agentId, taskId, number }: TaskOwner & { taskId: string; number: number },
  usage: Partial<Prisma.UsageRecordUncheckedCreateInput> = {},
): Promise<void> {
  const call = newId()
  await db.prisma.taskAttempt.create({
    data: {
      taskId,
      number,
      status: 'SUCCEEDED',
      agentVersion: 1,
      modelAttempts: { create: { id: call, model: 'demo/demo', outcome: 'succeeded', durationMs: 5 } },
    },
  })
  await insertUsage(db, { id: call, workspaceId, agentId, taskId, attemptNumber: number, ...usage })
}

export async function insertUsage(
  db: Database,
  record: { workspaceId: string } & Partial<Prisma.UsageRecordUncheckedCreateInput>,
): Promise<void> {
  const tokens = { inputTokens: 100, cachedInputTokens: 10, outputTokens: 50, reasoningTokens: 20 }
  const data = { id: newId(), model: 'demo/demo', estimated: false, costNanoUsd: 1_000_000n, ...tokens, ...record }
  await db.prisma.usageRecord.create({ data })
}

/** The fixture's clock, ids and checks for services that are tested on rows. */
export const fixedClock = { now: () => start, monotonicMs: () => 0 }
