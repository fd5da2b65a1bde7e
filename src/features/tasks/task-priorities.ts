import { z } from 'zod'
import type { Task } from '../../generated/prisma/client.ts'
import type { Clock } from '../../lib/clock.ts'
import { ConflictError, NotFoundError } from '../../lib/errors.ts'
import type { NewId } from '../../lib/ids.ts'
import { integerIn } from '../../lib/input-numbers.ts'
import { parseInput } from '../../lib/parse-input.ts'
import type { Database } from '../../platform/database/database.ts'
import type { Viewer } from '../accounts/viewer.ts'
import { recordAudit } from '../audit/audit.ts'
import { unknownOrigin, type RequestOrigin } from '../audit/request-origin.ts'
import type { WorkspaceAccess } from '../workspaces/access.ts'
import { workspacesOf } from '../workspaces/visible-workspaces.ts'
import type { Announcer } from './engine/announcer.ts'
import type { Transitions } from './engine/transitions.ts'
import { taskLimits } from './new-task.ts'
import { terminalStatuses } from './streams/task-messages.ts'

/** How urgent tasks are, after they were submitted. */
export interface TaskPriorities {
  /**
   * Changes the priority of a task, and its place in the queue with it. The priority that it has already changes nothing.
   *
   * Throws NotFoundError, ForbiddenError (a VIEWER), BadUserInputError, ConflictError (the task has ended: it would have no effect).
   */
  set(viewer: Viewer, input: { id: string; priority: number }, origin?: RequestOrigin): Promise<Task>
}

export type TaskPrioritiesDeps = {
  db: Database
  transitions: Pick<Transitions, 'setPriority'>
  announcer: Announcer
  access: WorkspaceAccess
  clock: Clock
  newId: NewId
}

const inputSchema = z.object({ id: z.string(), priority: integerIn(taskLimits.priority) })

export function createTaskPriorities(deps: TaskPrioritiesDeps): TaskPriorities {
  const { db, transitions, announcer, access, clock, newId } = deps

  return {
    async set(viewer, rawInput, origin = unknownOrigin) {
      const { id, priority } = parseInput(inputSchema, rawInput)
      const task = await db.prisma.task.findFirst({ where: { id, workspace: workspacesOf(viewer) } })
      if (task === null) throw new NotFoundError('task', { details: { field: 'input.id' } })
      await access.require(viewer, task.workspaceId, 'MEMBER')
      if (terminalStatuses.has(task.status)) throw endedError()
      if (task.priority === priority) return task

      const record = {
        id: newId(),
        at: clock.now(),
        action: 'task.priority_changed',
        actorId: viewer.userId,
        workspaceId: task.workspaceId,
        target: id,
        details: { from: task.priority, to: priority },
        ...origin,
      } as const
      const changed = await db.transaction(async (tx) => {
        await recordAudit(tx, record)
        return transitions.setPriority(tx, { taskId: id, priority })
      })
      if (changed !== null) await announcer.announce([changed])
      const now = await db.prisma.task.findUniqueOrThrow({ where: { id } })
      // It may have ended since it was read.
      if (changed === null && terminalStatuses.has(now.status)) throw endedError()
      return now
    },
  }
}

function endedError(): ConflictError {
  return new ConflictError('The task has ended; its priority has no effect any more.', {
    details: { field: 'input.id' },
  })
}
