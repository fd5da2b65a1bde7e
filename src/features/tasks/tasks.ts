import type { Task } from '../../generated/prisma/client.ts'
import type { Clock } from '../../lib/clock.ts'
import { ConflictError, NotFoundError } from '../../lib/errors.ts'
import type { NewId } from '../../lib/ids.ts'
import { parseInput } from '../../lib/parse-input.ts'
import type { Database, Statement } from '../../platform/database/database.ts'
import type { Events } from '../../platform/events/events.ts'
import type { Logger } from '../../platform/logger.ts'
import type { Viewer } from '../accounts/viewer.ts'
import { recordAudit } from '../audit/audit.ts'
import { unknownOrigin, type RequestOrigin } from '../audit/request-origin.ts'
import type { WorkspaceAccess } from '../workspaces/access.ts'
import { workspacesOf } from '../workspaces/visible-workspaces.ts'
import type { Announcer } from './engine/announcer.ts'
import { cancelTopic, type CancelMessage } from './engine/cancel-message.ts'
import { hexOf, keyReusedError, requestHash } from './idempotency.ts'
import { cancelSchema, createTaskSchema, type CreateTaskInput } from './new-task.ts'
import { terminalStatuses, type TaskRow } from './streams/task-messages.ts'
import type { Transitions } from './engine/transitions.ts'
import type { NewTask } from './engine/transition-input.ts'

/** Submitting and stopping tasks. */
export interface Tasks {
  /**
   * Submits a task; when this resolves it is a row, and it will run. The same `idempotencyKey` with the same input returns the task that
   * is there.
   *
   * Throws BadUserInputError, NotFoundError (no such agent of yours, no such dependency in its workspace), ForbiddenError (a VIEWER),
   * ConflictError (an archived agent; a key that was used for something else).
   */
  create(viewer: Viewer, input: CreateTaskInput): Promise<TaskRow>
  /**
   * Cancels a task: at once when it is not running; otherwise its model call is aborted and it ends CANCELLED within seconds. A task that
   * has ended stays as it is.
   *
   * Throws NotFoundError, ForbiddenError (a VIEWER), BadUserInputError.
   */
  cancel(
    viewer: Viewer,
    input: { id: string; reason?: string | null | undefined },
    origin?: RequestOrigin,
  ): Promise<Task>
  /** The workspace of a task that the viewer may see. Throws NotFoundError. */
  workspaceOf(viewer: Viewer, taskId: string): Promise<string>
}

export type TasksDeps = {
  db: Database
  transitions: Transitions
  announcer: Announcer
  events: Events
  access: WorkspaceAccess
  clock: Clock
  newId: NewId
  logger: Logger
  maxPromptBytes: number
}

// By hand: every task that is submitted asks it, and through Prisma it costs as much as the rest of the request.
const agentStatement: Statement = {
  name: 'agent_workspace',
  text: 'SELECT workspace_id AS "workspaceId" FROM agent WHERE id = $1',
}

export function createTasks(deps: TasksDeps): Tasks {
  const { db, transitions, announcer, events, access, clock, newId, logger } = deps
  const createSchema = createTaskSchema(deps)

  async function requireAgentsWorkspace(viewer: Viewer, agentId: string): Promise<string> {
    const [agent] = await db.query<{ workspaceId: string }>(agentStatement, [agentId], { retry: true })
    if (agent === undefined) throw unknownAgentError()
    try {
      await access.require(viewer, agent.workspaceId, 'MEMBER')
    } catch (error) {
      throw error instanceof NotFoundError ? unknownAgentError() : error
    }
    return agent.workspaceId
  }

  /** The task that is there in the place of one that could not be created; throws why there is none. */
  async function findInstead(task: NewTask): Promise<Task> {
    const { id, workspaceId, idempotencyKey } = task
    const sameKey = idempotencyKey === null ? [] : [{ workspaceId, idempotencyKey }]
    const existing = await db.prisma.task.findFirst({ where: { OR: [{ id }, ...sameKey] } })
    if (existing !== null) {
      // By its own id: the database has created it, but the answer was lost.
      if (existing.id !== id && hexOf(existing.idempotencyHash) !== task.idempotencyHash) throw keyReusedError()
      return existing
    }
    await assertDependenciesExist(db, task)
    throw archivedError()
  }

  async function tellWorkers(message: CancelMessage): Promise<void> {
    try {
      await events.publish(cancelTopic, message)
    } catch (error) {
      logger.warn({ err: error, ...message }, 'a cancellation was not published; the next heartbeat brings it')
    }
  }

  return {
    async workspaceOf(viewer, id) {
      const where = { id, workspace: workspacesOf(viewer) }
      const task = await db.prisma.task.findFirst({ where, select: { workspaceId: true } })
      if (task === null) throw new NotFoundError('task')
      return task.workspaceId
    },

    async create(viewer, rawInput) {
      const input = parseInput(createSchema, rawInput)
      const workspaceId = await requireAgentsWorkspace(viewer, input.agentId)
      const idempotencyKey = input.idempotencyKey ?? null
      const task: NewTask = {
        id: newId(),
        workspaceId,
        agentId: input.agentId,
        createdById: viewer.userId,
        name: input.name ?? null,
        prompt: input.prompt,
        input: input.input ?? null,
        priority: input.priority ?? 0,
        runAt: input.runAt ?? null,
        maxAttempts: input.maxAttempts ?? null,
        timeoutMs: input.timeoutMs ?? null,
        idempotencyKey,
        idempotencyHash: idempotencyKey === null ? null : requestHash(input),
        dependsOn: input.dependsOn ?? [],
        onDependencyFailure: input.onDependencyFailure ?? 'SKIP',
        scheduleId: null,
        scheduledFor: null,
      }
      const created = await transitions.create([task])
      const last = created.at(-1)
      if (last === undefined) return findInstead(task)
      await announcer.announce(created)
      return last.task
    },

    async cancel(viewer, rawInput, origin = unknownOrigin) {
      const { id, reason } = parseInput(cancelSchema, rawInput)
      const task = await db.prisma.task.findFirst({
        where: { id, workspace: workspacesOf(viewer) },
      })
      if (task === null) throw new NotFoundError('task', { details: { field: 'input.id' } })
      await access.require(viewer, task.workspaceId, 'MEMBER')
      if (terminalStatuses.has(task.status)) return task

      const record = {
        id: newId(),
        at: clock.now(),
        action: 'task.cancelled',
        actorId: viewer.userId,
        workspaceId: task.workspaceId,
        target: id,
        ...origin,
      } as const
      const cancelled = await db.transaction(async (tx) => {
        await recordAudit(tx, record)
        return transitions.cancel([id], reason ?? null, tx)
      })
      await announcer.announce(cancelled)
      if (cancelled.some(({ task: { status } }) => status === 'RUNNING')) await tellWorkers({ taskIds: [id] })
      return findTask(db, id)
    },
  }
}

async function findTask(db: Database, id: string): Promise<Task> {
  return db.prisma.task.findUniqueOrThrow({ where: { id } })
}

async function assertDependenciesExist(db: Database, { workspaceId, dependsOn }: NewTask): Promise<void> {
  const where = { id: { in: [...dependsOn] }, workspaceId }
  const found = new Set((await db.prisma.task.findMany({ where, select: { id: true } })).map(({ id }) => id))
  const missing = dependsOn.findIndex((id) => !found.has(id))
  if (missing === -1) return
  throw new NotFoundError('task in the workspace of the agent', { details: { field: `input.dependsOn.${missing}` } })
}

/** The same for one that does not exist and for one that is not the viewer's. */
function unknownAgentError(): NotFoundError {
  return new NotFoundError('agent', { details: { field: 'input.agentId' } })
}

function archivedError(): ConflictError {
  return new ConflictError('The agent is archived and takes no more tasks.', { details: { field: 'input.agentId' } })
}
