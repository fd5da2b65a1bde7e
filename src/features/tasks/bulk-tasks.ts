import { z } from 'zod'
import type { TaskStatus } from '../../generated/prisma/client.ts'
import type { Clock } from '../../lib/clock.ts'
import type { NewId } from '../../lib/ids.ts'
import { integerIn } from '../../lib/input-numbers.ts'
import type { PagePosition } from '../../lib/keyset-page.ts'
import { parseInput } from '../../lib/parse-input.ts'
import type { Database } from '../../platform/database/database.ts'
import type { Events } from '../../platform/events/events.ts'
import type { Logger } from '../../platform/logger.ts'
import type { Viewer } from '../accounts/viewer.ts'
import { recordAudit } from '../audit/audit.ts'
import { unknownOrigin, type RequestOrigin } from '../audit/request-origin.ts'
import type { WorkspaceAccess } from '../workspaces/access.ts'
import type { Announcer } from './engine/announcer.ts'
import { cancelTopic } from './engine/cancel-message.ts'
import type { Transitions } from './engine/transitions.ts'
import type { TaskTransition } from './streams/task-messages.ts'
import { parseTaskFilter, type TaskFilter, type TaskFilterInput } from './task-filter.ts'
import { readTaskPages } from './task-pages.ts'

export const bulkLimit = { min: 1, max: 5_000, default: 1_000 } as const

export type BulkTasksInput = {
  /** The id of the row; default: the personal workspace. */
  workspaceId?: string | null | undefined
  filter: TaskFilterInput
  limit?: number | null | undefined
}

/** What was done. `hasMore`: there are more tasks that the filter matches, so ask again. */
export type BulkTasksResult = { count: number; hasMore: boolean }

/**
 * Cancelling and retrying many tasks, the oldest first, batch by batch: each batch is a short transaction of its own, so nobody else waits for
 * long, and what was done stays done when a later one fails.
 *
 * Both throw BadUserInputError, NotFoundError (no such workspace), ForbiddenError (a VIEWER).
 */
export interface BulkTasks {
  /** Cancels live tasks that the filter matches, at most `limit`; counts those, and not the dependents that follow. */
  cancel(viewer: Viewer, input: BulkTasksInput, origin?: RequestOrigin): Promise<BulkTasksResult>
  /** Retries FAILED, CANCELLED and SKIPPED tasks that the filter matches, at most `limit`; counts all that begin anew. */
  retry(viewer: Viewer, input: BulkTasksInput, origin?: RequestOrigin): Promise<BulkTasksResult>
}

export type BulkTasksDeps = {
  db: Database
  transitions: Pick<Transitions, 'cancel' | 'retry'>
  announcer: Announcer
  access: WorkspaceAccess
  events: Events
  clock: Clock
  newId: NewId
  logger: Logger
}

/** Locked for some 50 ms. */
const tasksPerBatch = 200
const maxLookedAt = 20_000
const beginning: PagePosition = { createdAt: new Date(0), id: '00000000-0000-0000-0000-000000000000' }
const limitInput = z.object({ limit: integerIn(bulkLimit).nullish() })

type Kind = {
  action: 'task.bulk_cancelled' | 'task.bulk_retried'
  statuses: readonly TaskStatus[]
  change: (ids: readonly string[]) => Promise<TaskTransition[]>
  isCounted: (transition: TaskTransition, ids: ReadonlySet<string>) => boolean
}

export function createBulkTasks(deps: BulkTasksDeps): BulkTasks {
  const { db, transitions, announcer, access, events, clock, newId, logger } = deps

  async function tellWorkers(taskIds: readonly string[]): Promise<void> {
    if (taskIds.length === 0) return
    try {
      await events.publish(cancelTopic, { taskIds })
    } catch (error) {
      logger.warn({ err: error, tasks: taskIds.length }, 'cancellations were not published; heartbeats bring them')
    }
  }

  /** The oldest tasks behind a position. */
  async function readBatch(workspaceId: string, filter: TaskFilter, after: PagePosition, limit: number) {
    const request = { limit, backward: true, position: after }
    const [page] = await readTaskPages(db, [workspaceId], { owner: 'workspace', filter, request })
    const tasks = (page?.edges ?? []).map(({ node }) => node).toReversed()
    return { tasks, hasMore: page?.pageInfo.hasPreviousPage ?? false }
  }

  async function changeAll(kind: Kind, { workspaceId, filter, limit }: Work): Promise<BulkTasksResult> {
    let after = beginning
    let left = limit
    let count = 0
    // What matches and cannot be changed (it was asked to stop already, it would be skipped again) does not count towards the limit.
    for (let looked = 0; ; looked += tasksPerBatch) {
      const { tasks, hasMore } = await readBatch(workspaceId, filter, after, Math.min(tasksPerBatch, left))
      const ids = new Set(tasks.map(({ id }) => id))
      const made = ids.size === 0 ? [] : await kind.change([...ids])
      await announcer.announce(made)
      await tellWorkers(made.filter(({ event }) => event.type === 'CANCEL_REQUESTED').map(({ event }) => event.taskId))
      count += made.filter((transition) => kind.isCounted(transition, ids)).length
      left -= made.filter(({ event }) => ids.has(event.taskId)).length
      const last = tasks.at(-1)
      const isOver = last === undefined || !hasMore || left <= 0 || looked >= maxLookedAt
      if (isOver) return { count, hasMore: hasMore && count > 0 }
      after = last
    }
  }

  async function run(kind: Kind, viewer: Viewer, input: BulkTasksInput, origin: RequestOrigin) {
    const { limit } = parseInput(limitInput, { limit: input.limit })
    const filter = parseTaskFilter(input.filter)
    const workspaceId = input.workspaceId ?? (await access.personalWorkspaceId(viewer))
    await access.require(viewer, workspaceId, 'MEMBER')
    const statuses = kind.statuses.filter((status) => filter.statuses?.includes(status) ?? true)
    const work = { workspaceId, filter: { ...filter, statuses }, limit: limit ?? bulkLimit.default }
    // Of the request: what it comes to is in the events of the tasks.
    const details = { limit: work.limit, statuses, agentId: filter.agentId, isSearch: filter.search !== null }
    const subject = { actorId: viewer.userId, workspaceId, target: workspaceId, details, ...origin }
    const record = { id: newId(), at: clock.now(), action: kind.action, ...subject }
    await db.transaction((tx) => recordAudit(tx, record))
    return changeAll(kind, work)
  }

  const cancelling: Kind = {
    action: 'task.bulk_cancelled',
    statuses: ['BLOCKED', 'SCHEDULED', 'QUEUED', 'RUNNING'],
    change: (ids) => transitions.cancel(ids, null),
    isCounted: ({ event }, ids) => ids.has(event.taskId),
  }
  const retrying: Kind = {
    action: 'task.bulk_retried',
    statuses: ['FAILED', 'CANCELLED', 'SKIPPED'],
    change: (ids) => transitions.retry(ids),
    isCounted: () => true,
  }

  return {
    cancel: (viewer, input, origin = unknownOrigin) => run(cancelling, viewer, input, origin),
    retry: (viewer, input, origin = unknownOrigin) => run(retrying, viewer, input, origin),
  }
}

type Work = { workspaceId: string; filter: TaskFilter; limit: number }
