import type { Task } from '../../generated/prisma/client.ts'
import type { Clock } from '../../lib/clock.ts'
import { ConflictError, NotFoundError } from '../../lib/errors.ts'
import type { NewId } from '../../lib/ids.ts'
import type { Database } from '../../platform/database/database.ts'
import type { Viewer } from '../accounts/viewer.ts'
import { recordAudit } from '../audit/audit.ts'
import { unknownOrigin, type RequestOrigin } from '../audit/request-origin.ts'
import type { WorkspaceAccess } from '../workspaces/access.ts'
import { workspacesOf } from '../workspaces/visible-workspaces.ts'
import type { Announcer } from './engine/announcer.ts'
import type { Transitions } from './engine/transitions.ts'
import { terminalStatuses } from './streams/task-messages.ts'

/** Retrying tasks that have ended without success. */
export interface TaskRetries {
  /**
   * Begins a task anew, with all of its attempts. What its policy had skipped or cancelled because of it comes back with it, unless it depends on
   * something else that has not succeeded.
   *
   * Throws NotFoundError, ForbiddenError (a VIEWER), ConflictError (it has not ended, or has succeeded; its agent is archived; a task that it
   * depends on has not succeeded and is not retried).
   */
  retry(viewer: Viewer, id: string, origin?: RequestOrigin): Promise<Task>
}

export type TaskRetriesDeps = {
  db: Database
  transitions: Pick<Transitions, 'retry'>
  announcer: Announcer
  access: WorkspaceAccess
  clock: Clock
  newId: NewId
}

/** Rolls the audit event back. */
class NotRevived extends Error {}

export function createTaskRetries(deps: TaskRetriesDeps): TaskRetries {
  const { db, transitions, announcer, access, clock, newId } = deps

  return {
    async retry(viewer, id, origin = unknownOrigin) {
      const task = await db.prisma.task.findFirst({ where: { id, workspace: workspacesOf(viewer) } })
      if (task === null) throw new NotFoundError('task', { details: { field: 'input.id' } })
      const { workspaceId } = task
      await access.require(viewer, workspaceId, 'MEMBER')
      const subject = { actorId: viewer.userId, workspaceId, target: id, ...origin }
      const record = { id: newId(), at: clock.now(), action: 'task.retried', ...subject } as const
      try {
        const revived = await db.transaction(async (tx) => {
          await recordAudit(tx, record)
          const made = await transitions.retry([id], tx)
          if (!made.some(({ event }) => event.taskId === id)) throw new NotRevived()
          return made
        })
        await announcer.announce(revived)
      } catch (error) {
        throw error instanceof NotRevived ? await whyNot(db, id) : error
      }
      return db.prisma.task.findUniqueOrThrow({ where: { id } })
    },
  }
}

async function whyNot(db: Database, id: string): Promise<ConflictError> {
  const { status, agent, dependencies } = await db.prisma.task.findUniqueOrThrow({
    where: { id },
    include: { agent: true, dependencies: { include: { dependsOn: true }, orderBy: { position: 'asc' } } },
  })
  if (status === 'SUCCEEDED') {
    const suggestions = ['Submit it as a new task to have it done again.']
    return conflict('The task has succeeded.', { status }, suggestions)
  }
  if (!terminalStatuses.has(status)) return conflict('The task has not ended yet.', { status }, ['Cancel it first.'])
  if (agent.status === 'ARCHIVED') return conflict('The agent is archived and takes no more tasks.', { status }, [])
  const failed = dependencies.map(({ dependsOn }) => dependsOn).filter((other) => hasFailed(other))
  return conflict(
    'The task depends on one that has not succeeded.',
    { status, dependencies: failed.map((other) => ({ name: other.name, status: other.status })) },
    ['Retry what it depends on: this one comes back with it.'],
  )
}

function hasFailed({ status }: Task): boolean {
  return status !== 'SUCCEEDED' && terminalStatuses.has(status)
}

function conflict(message: string, details: Record<string, unknown>, suggestions: readonly string[]): ConflictError {
  return new ConflictError(message, { details: { field: 'input.id', ...details }, suggestions })
}
