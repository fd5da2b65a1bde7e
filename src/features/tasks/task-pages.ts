import type { Task, TaskStatus } from '../../generated/prisma/client.ts'
import { toPage, type Page, type PageRequest } from '../../lib/keyset-page.ts'
import type { Database, Statement } from '../../platform/database/database.ts'
import { containsPattern, type TaskFilter } from './task-filter.ts'

/** Whose tasks, which of them, and which page. */
export type TaskPageOptions = { owner: 'workspace' | 'agent'; filter: TaskFilter; request: PageRequest }

/**
 * Reads one page of tasks, newest first, for each of many owners, in one statement; answers in the order of `ownerIds`.
 *
 * Hand-written, because Prisma (7.10) reads every row of a nested list and cuts the page from it in memory, whatever `take` says.
 * Here each owner's page comes from an index that has its order: (workspace, created, id), or where a status is asked for and for
 * agents, one page for each status from (owner, status, created, id), merged. So a page costs the same whatever the owner has.
 * Only `search` reads on until it has found enough.
 */
export async function readTaskPages(
  db: Database,
  ownerIds: readonly string[],
  options: TaskPageOptions,
): Promise<Page<Task>[]> {
  const ids = [...new Set(ownerIds)]
  const { statement, values } = pageQuery(ids, options)
  const rows = await db.query<Task & { ownerId: string }>(statement, values, { retry: true })
  const pages = new Map(ids.map((id): [string, Task[]] => [id, []]))
  for (const { ownerId, ...task } of rows) pages.get(ownerId)?.push(task)
  return ownerIds.map((id) => toPage(pages.get(id) ?? [], options.request))
}

const allStatuses: readonly TaskStatus[] = [
  'BLOCKED',
  'SCHEDULED',
  'QUEUED',
  'RUNNING',
  'SUCCEEDED',
  'FAILED',
  'CANCELLED',
  'SKIPPED',
]

// All of a Task, so that its type's resolvers need nothing more; the hash concerns nobody.
export const taskColumns = `
  t.id, t.workspace_id AS "workspaceId", t.agent_id AS "agentId", t.created_by_id AS "createdById", t.name, t.priority, t.status,
  t.reason, t.version, t.on_dependency_failure AS "onDependencyFailure",
  t.dependency_count AS "dependencyCount", t.unmet_dependencies AS "unmetDependencies",
  t.run_at AS "runAt", t.timeout_ms AS "timeoutMs", t.max_attempts AS "maxAttempts", t.attempt, t.attempts_used AS "attemptsUsed",
  t.lease_token AS "leaseToken", t.lease_expires_at AS "leaseExpiresAt", t.lease_process_id AS "leaseProcessId",
  t.cancel_requested_at AS "cancelRequestedAt", t.cancel_reason AS "cancelReason", t.error_code AS "errorCode",
  t.error_message AS "errorMessage", t.error_retryable AS "errorRetryable", t.idempotency_key AS "idempotencyKey",
  NULL::bytea AS "idempotencyHash", t.schedule_id AS "scheduleId", t.scheduled_for AS "scheduledFor", t.created_at AS "createdAt",
  t.updated_at AS "updatedAt", t.queued_at AS "queuedAt", t.started_at AS "startedAt", t.finished_at AS "finishedAt"`

/**
 * The statement for what is asked for. Its text has only the conditions that are: one text for all, with `$n IS NULL OR …`, is
 * planned once for all and then reads the wrong index. The shapes are few, and each is prepared under its own name.
 */
function pageQuery(ids: readonly string[], { owner, filter, request }: TaskPageOptions) {
  const { backward, position, limit } = request
  const values: unknown[] = [ids, limit + 1]
  const parameter = (value: unknown): string => `$${values.push(value)}`
  const shape: string[] = [owner, backward ? 'back' : 'on']
  const conditions = [owner === 'workspace' ? 't.workspace_id = owner.id' : 't.agent_id = owner.id']
  const add = (name: string, condition: string): void => {
    shape.push(name)
    conditions.push(condition)
  }

  if (position !== null) {
    const from = `(${parameter(position.createdAt)}::timestamptz, ${parameter(position.id)}::uuid)`
    add('from', `(t.created_at, t.id) ${backward ? '>' : '<'} ${from}`)
  }
  if (filter.agentId !== null) add('agent', `t.agent_id = ${parameter(filter.agentId)}::uuid`)
  if (filter.createdAfter !== null) add('after', `t.created_at >= ${parameter(filter.createdAfter)}::timestamptz`)
  if (filter.createdBefore !== null) add('before', `t.created_at < ${parameter(filter.createdBefore)}::timestamptz`)
  if (filter.search !== null) {
    const pattern = `${parameter(containsPattern(filter.search))}::text`
    add(
      'search',
      `(t.name ILIKE ${pattern} OR EXISTS (SELECT 1 FROM task_content c WHERE c.task_id = t.id AND c.prompt ILIKE ${pattern}))`,
    )
  }

  const direction = backward ? 'ASC' : 'DESC'
  const byStatus = owner === 'agent' || filter.agentId !== null || filter.statuses !== null
  if (byStatus) add('status', 't.status = wanted.status')
  const search = `
    SELECT ${taskColumns} FROM task t WHERE ${conditions.join(' AND ')}
     ORDER BY t.created_at ${direction}, t.id ${direction} LIMIT $2`
  const page = byStatus
    ? `SELECT lane.* FROM unnest(${parameter(filter.statuses ?? allStatuses)}::task_status[]) AS wanted (status),
              LATERAL (${search}) AS lane ORDER BY lane."createdAt" ${direction}, lane.id ${direction} LIMIT $2`
    : search
  const text = `
    SELECT owner.id AS "ownerId", page.* FROM unnest($1::uuid[]) AS owner (id), LATERAL (${page}) AS page
     ORDER BY owner.id, page."createdAt" ${direction}, page.id ${direction}`
  const statement: Statement = { name: `task_page_${shape.join('_')}`, text }
  return { statement, values }
}
