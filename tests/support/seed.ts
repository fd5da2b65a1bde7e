import type { Agent, Prisma } from '../../src/generated/prisma/client.ts'
import { newId } from '../../src/lib/ids.ts'
import type { Database } from '../../src/platform/database/database.ts'
import type { NewTask } from '../../src/features/tasks/engine/transition-input.ts'

/** An agent in a workspace of its own, as rows. */
export async function seedAgent(
  db: Database,
  overrides: Partial<Prisma.AgentUncheckedCreateInput> = {},
): Promise<Agent> {
  const workspaceId = overrides.workspaceId ?? newId()
  if (overrides.workspaceId === undefined) {
    await db.prisma.workspace.create({ data: { id: workspaceId, name: 'Test', counter: { create: {} } } })
  }
  return db.prisma.agent.create({
    data: {
      id: newId(),
      workspaceId,
      name: 'Agent',
      instructions: 'Work.',
      models: [],
      concurrency: 10,
      maxAttempts: 3,
      retryInitialDelayMs: 1_000,
      retryMaxDelayMs: 60_000,
      timeoutMs: 60_000,
      ...overrides,
    },
  })
}

/** A task for Transitions.create. */
export function makeNewTask(agent: Agent, overrides: Partial<NewTask> = {}): NewTask {
  return {
    id: newId(),
    workspaceId: agent.workspaceId,
    agentId: agent.id,
    createdById: null,
    name: null,
    prompt: 'Go.',
    input: null,
    priority: 0,
    runAt: null,
    maxAttempts: null,
    timeoutMs: null,
    idempotencyKey: null,
    idempotencyHash: null,
    dependsOn: [],
    onDependencyFailure: 'SKIP',
    scheduleId: null,
    scheduledFor: null,
    ...overrides,
  }
}
