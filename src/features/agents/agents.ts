import { Prisma, type Agent, type AgentStatus } from '../../generated/prisma/client.ts'
import type { Clock } from '../../lib/clock.ts'
import { NotFoundError } from '../../lib/errors.ts'
import type { NewId } from '../../lib/ids.ts'
import { parseInput } from '../../lib/parse-input.ts'
import type { Database, Transaction } from '../../platform/database/database.ts'
import type { Viewer } from '../accounts/viewer.ts'
import { recordAudit, type AuditAction } from '../audit/audit.ts'
import { unknownOrigin, type RequestOrigin } from '../audit/request-origin.ts'
import type { WorkspaceAccess } from '../workspaces/access.ts'
import { workspacesOf } from '../workspaces/visible-workspaces.ts'
import { changeAgent } from './agent-changes.ts'
import { archived, notChanged } from './agent-conflicts.ts'
import { createAgentSchemas, type AgentFields } from './agent-definition.ts'
import type { DefinitionChecks } from './model-parameters.ts'

/**
 * Agents: what runs tasks. Every method throws NotFoundError for an agent or workspace that does not exist or is not the viewer's,
 * ForbiddenError for a VIEWER, and ConflictError for a change of an archived agent.
 */
export interface Agents {
  /** Makes one, in the viewer's personal workspace when none is given. Throws BadUserInputError with all problems. */
  create(
    viewer: Viewer,
    input: AgentFields & { workspaceId?: string | null | undefined },
    origin?: RequestOrigin,
  ): Promise<Agent>
  /**
   * Changes what is given; changeAgent says what that does to the versions. Throws BadUserInputError with all problems, and
   * ConflictError with the present version in `details.version` when it is not `expectedVersion`.
   */
  update(
    viewer: Viewer,
    input: AgentFields & { id: string; expectedVersion?: number | null | undefined },
    origin?: RequestOrigin,
  ): Promise<Agent>
  /** Its tasks stay queued; what runs goes on. */
  pause(viewer: Viewer, agentId: string, origin?: RequestOrigin): Promise<Agent>
  /** Its queued tasks run again. */
  resume(viewer: Viewer, agentId: string, origin?: RequestOrigin): Promise<Agent>
  /** For good: it takes no new tasks, and those that wait are cancelled; what runs goes on. */
  archive(viewer: Viewer, agentId: string, origin?: RequestOrigin): Promise<Agent>
}

export type AgentsDeps = DefinitionChecks & {
  db: Database
  clock: Clock
  newId: NewId
  access: WorkspaceAccess
  /** Told after a change that may let queued tasks run. A hint only: it must not throw, and the reconciler repairs its loss. */
  onAgentReady: (agent: Agent) => void
  /** Cancels what waits for an archived agent; safe to repeat. */
  cancelWaitingTasks: (agentId: string, reason: string) => Promise<void>
}

export function createAgents(deps: AgentsDeps): Agents {
  const { db, clock, newId, access, onAgentReady, cancelWaitingTasks } = deps
  const schemas = createAgentSchemas(deps)

  async function requireAgent(viewer: Viewer, agentId: string): Promise<Agent> {
    const where = { id: agentId, workspace: workspacesOf(viewer) }
    const agent = await db.prisma.agent.findFirst({ where })
    if (agent === null) throw new NotFoundError('agent')
    await access.require(viewer, agent.workspaceId, 'MEMBER')
    return agent
  }

  /** Returns the agent's row in `status`, and whether it had another one before. */
  async function setStatus(
    act: Act,
    agentId: string,
    status: AgentStatus,
  ): Promise<{ agent: Agent; changed: boolean }> {
    await requireAgent(act.viewer, agentId)
    const auditId = newId()
    const now = clock.now()
    return db.transaction(async (tx) => {
      // ARCHIVED is for good.
      const where = { id: agentId, status: { notIn: [status, 'ARCHIVED' as const] } }
      const { count } = await tx.agent.updateMany({ where, data: { status, updatedAt: now } })
      const agent = await tx.agent.findUniqueOrThrow({ where: { id: agentId } })
      if (agent.status !== status) throw archived()
      if (count === 1) await audit(tx, act, { id: auditId, at: now, agent })
      return { agent, changed: count === 1 }
    })
  }

  return {
    async create(viewer, input, origin = unknownOrigin) {
      const workspaceId = input.workspaceId ?? (await access.personalWorkspaceId(viewer))
      await access.require(viewer, workspaceId, 'MEMBER')
      const { retryPolicy, rateLimit, outputSchema, ...definition } = parseInput(schemas.create, input)
      const id = newId()
      const auditId = newId()
      const now = clock.now()
      return db.transaction(async (tx) => {
        const agent = await tx.agent.create({
          data: {
            ...definition,
            ...rateLimit,
            id,
            workspaceId,
            outputSchema: outputSchema ?? Prisma.DbNull,
            maxAttempts: retryPolicy.maxAttempts,
            retryInitialDelayMs: retryPolicy.initialDelayMs,
            retryMaxDelayMs: retryPolicy.maxDelayMs,
            createdAt: now,
            updatedAt: now,
          },
        })
        await audit(tx, { viewer, origin, action: 'agent.created' }, { id: auditId, at: now, agent })
        return agent
      })
    },

    async update(viewer, input, origin = unknownOrigin) {
      await requireAgent(viewer, input.id)
      const changes = parseInput(schemas.update, input)
      const expectedVersion = input.expectedVersion ?? null
      const auditId = newId()
      const now = clock.now()
      const agent = await db.transaction(async (tx) => {
        const changed = await changeAgent(tx, input.id, { changes, expectedVersion, now })
        const row = await tx.agent.findUniqueOrThrow({ where: { id: input.id } })
        if (!changed) throw notChanged(row, expectedVersion)
        await audit(tx, { viewer, origin, action: 'agent.updated' }, { id: auditId, at: now, agent: row })
        return row
      })
      // It may have more room now.
      if (agent.status === 'ACTIVE' && changes.concurrency !== undefined) onAgentReady(agent)
      return agent
    },

    async pause(viewer, agentId, origin = unknownOrigin) {
      const { agent } = await setStatus({ viewer, origin, action: 'agent.paused' }, agentId, 'PAUSED')
      return agent
    },

    async resume(viewer, agentId, origin = unknownOrigin) {
      const { agent, changed } = await setStatus({ viewer, origin, action: 'agent.resumed' }, agentId, 'ACTIVE')
      if (changed) onAgentReady(agent)
      return agent
    },

    async archive(viewer, agentId, origin = unknownOrigin) {
      const { agent } = await setStatus({ viewer, origin, action: 'agent.archived' }, agentId, 'ARCHIVED')
      // Not in the transaction above: tasks are locked before agents. Repeated when archiving is.
      await cancelWaitingTasks(agent.id, 'The agent was archived.')
      return agent
    },
  }
}

type Act = { viewer: Viewer; origin: RequestOrigin; action: AuditAction }

async function audit(tx: Transaction, { viewer, origin, action }: Act, event: { id: string; at: Date; agent: Agent }) {
  const { id, at, agent } = event
  const details = { version: agent.version, stateVersion: agent.stateVersion }
  await recordAudit(tx, {
    id,
    at,
    action,
    actorId: viewer.userId,
    workspaceId: agent.workspaceId,
    target: agent.id,
    ...origin,
    details,
  })
}
