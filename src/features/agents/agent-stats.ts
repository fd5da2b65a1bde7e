import type { Database, Statement } from '../../platform/database/database.ts'

/** What an agent's tasks are doing. */
export type AgentStats = {
  queued: number
  running: number
  succeeded: number
  failed: number
  /** From the last start to the end, over the newest of its tasks that succeeded; null before the first. */
  averageDurationMs: number | null
  /** When one of its newest tasks last started or ended. */
  lastActiveAt: Date | null
}

/** How many of an agent's newest tasks of each status the averages look at: an agent may have millions. */
export const recentTasks = 100

const noStats: AgentStats = {
  queued: 0,
  running: 0,
  succeeded: 0,
  failed: 0,
  averageDurationMs: null,
  lastActiveAt: null,
}

// The counts come from the index (agent, status, …) alone. Averages over all tasks would read every row of an agent: the newest
// of each status come from the same index, in its order.
const statsStatement: Statement = {
  name: 'agent_stats',
  text: `
    SELECT wanted.id AS "agentId", counts.*, recent.*
      FROM unnest($1::uuid[]) AS wanted (id),
           LATERAL (SELECT count(*) FILTER (WHERE status = 'QUEUED')::int AS queued,
                           count(*) FILTER (WHERE status = 'RUNNING')::int AS running,
                           count(*) FILTER (WHERE status = 'SUCCEEDED')::int AS succeeded,
                           count(*) FILTER (WHERE status = 'FAILED')::int AS failed
                      FROM task WHERE agent_id = wanted.id) AS counts,
           LATERAL (SELECT avg(extract(epoch FROM t.finished_at - t.started_at) * 1000)
                             FILTER (WHERE t.status = 'SUCCEEDED')::float8 AS "averageDurationMs",
                           max(greatest(t.started_at, t.finished_at)) AS "lastActiveAt"
                      FROM unnest(enum_range(NULL::task_status)) AS kind (status),
                           LATERAL (SELECT status, started_at, finished_at FROM task
                                     WHERE agent_id = wanted.id AND status = kind.status
                                     ORDER BY created_at DESC, id DESC LIMIT $2) AS t) AS recent`,
}

/** The statistics of agents. One statement, answers in the order of `agentIds`. */
export async function readAgentStats(db: Database, agentIds: readonly string[]): Promise<AgentStats[]> {
  const values = [[...new Set(agentIds)], recentTasks]
  const rows = await db.query<AgentStats & { agentId: string }>(statsStatement, values, { retry: true })
  const stats = new Map(rows.map(({ agentId, ...rest }) => [agentId, rest]))
  return agentIds.map((id) => stats.get(id) ?? noStats)
}
