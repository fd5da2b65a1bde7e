import type { Database, Statement } from '../../platform/database/database.ts'

/** What the tasks of a workspace are doing. */
export type WorkspaceStats = {
  blocked: number
  scheduled: number
  queued: number
  running: number
  succeededToday: number
  failedToday: number
  oldestQueuedAt: Date | null
}

const noStats: WorkspaceStats = {
  blocked: 0,
  scheduled: 0,
  queued: 0,
  running: 0,
  succeededToday: 0,
  failedToday: 0,
  oldestQueuedAt: null,
}

// Two reads, each from an index: what is live by (workspace, status, …), what has ended today by (workspace, finished).
const statsStatement: Statement = {
  name: 'workspace_stats',
  text: `
    SELECT wanted.id AS "workspaceId", live.*, today.*
      FROM unnest($1::uuid[]) AS wanted (id),
           LATERAL (SELECT count(*) FILTER (WHERE status = 'BLOCKED')::int AS blocked,
                           count(*) FILTER (WHERE status = 'SCHEDULED')::int AS scheduled,
                           count(*) FILTER (WHERE status = 'QUEUED')::int AS queued,
                           count(*) FILTER (WHERE status = 'RUNNING')::int AS running,
                           min(queued_at) FILTER (WHERE status = 'QUEUED') AS "oldestQueuedAt"
                      FROM task
                     WHERE workspace_id = wanted.id AND status IN ('BLOCKED', 'SCHEDULED', 'QUEUED', 'RUNNING')) AS live,
           LATERAL (SELECT count(*) FILTER (WHERE status = 'SUCCEEDED')::int AS "succeededToday",
                           count(*) FILTER (WHERE status = 'FAILED')::int AS "failedToday"
                      FROM task WHERE workspace_id = wanted.id AND finished_at >= $2) AS today`,
}

/** The statistics of workspaces; `today` begins at `midnight`. One statement, answers in the order of `workspaceIds`. */
export async function readWorkspaceStats(
  db: Database,
  workspaceIds: readonly string[],
  midnight: Date,
): Promise<WorkspaceStats[]> {
  const values = [[...new Set(workspaceIds)], midnight]
  const rows = await db.query<WorkspaceStats & { workspaceId: string }>(statsStatement, values, { retry: true })
  const stats = new Map(rows.map(({ workspaceId, ...rest }) => [workspaceId, rest]))
  return workspaceIds.map((id) => stats.get(id) ?? noStats)
}

/** When the UTC day of `now` began. */
export function utcMidnight(now: Date): Date {
  return new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate()))
}
