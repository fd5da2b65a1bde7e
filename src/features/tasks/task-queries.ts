import type { AgentStatus } from '../../generated/prisma/client.ts'
import type { Database, Statement } from '../../platform/database/database.ts'
import type { TaskEventRecord } from './streams/task-messages.ts'

/** What of an agent decides whether its queued tasks run; `running` counts live leases, as the claim does. */
export type AgentLoad = { status: AgentStatus; concurrency: number; running: number }

// The final text, or while there is none the chunks of the latest segment. One statement, because a task that ends moves its text
// from the one to the other in one transaction: two statements could find it in neither.
const outputsStatement: Statement = {
  name: 'task_outputs',
  text: `SELECT content.task_id AS "taskId", coalesce(content.output, (
                  SELECT string_agg(chunk.text, '' ORDER BY chunk.start_offset) FROM output_chunk chunk
                   WHERE chunk.task_id = content.task_id AND chunk.segment = (
                           SELECT max(segment) FROM output_segment WHERE task_id = content.task_id))) AS output
           FROM task_content content WHERE content.task_id = ANY ($1::uuid[])`,
}

/** The text of tasks, so far or final; null while there is none. One statement, answers in the order of `taskIds`. */
export async function readOutputs(db: Database, taskIds: readonly string[]): Promise<(string | null)[]> {
  const rows = await db.query<{ taskId: string; output: string | null }>(outputsStatement, [distinct(taskIds)], {
    retry: true,
  })
  const outputs = new Map(rows.map(({ taskId, output }) => [taskId, output]))
  return taskIds.map((id) => outputs.get(id) ?? null)
}

const agentLoadsStatement: Statement = {
  name: 'agent_loads',
  text: `SELECT a.id, a.status, a.concurrency,
                (SELECT count(*) FROM task t WHERE t.agent_id = a.id AND t.status = 'RUNNING'
                                              AND t.lease_expires_at > clock_timestamp())::int AS running
           FROM agent a WHERE a.id = ANY ($1::uuid[])`,
}

/** How full agents are; null for one that does not exist. One statement, answers in the order of `agentIds`. */
export async function readAgentLoads(db: Database, agentIds: readonly string[]): Promise<(AgentLoad | null)[]> {
  const rows = await db.query<AgentLoad & { id: string }>(agentLoadsStatement, [distinct(agentIds)], { retry: true })
  const loads = new Map(rows.map((row) => [row.id, row]))
  return agentIds.map((id) => loads.get(id) ?? null)
}

/** Which events of a task: at most `limit + 1` of those after `version`, in order. */
export type EventRange = { version: number; limit: number }

const eventsStatement: Statement = {
  name: 'task_events_page',
  text: `SELECT e.task_id AS "taskId", e.workspace_id AS "workspaceId", e.seq, e.version, e.type, e.status, e.attempt, e.reason, e.at
           FROM unnest($1::uuid[]) AS wanted (id),
                LATERAL (SELECT * FROM task_event WHERE task_id = wanted.id AND version > $2 ORDER BY version LIMIT $3) AS e
          ORDER BY e.task_id, e.version`,
}

/** The events of tasks. One statement for tasks that are asked for the same range, answers in the order of `taskIds`. */
export async function readTaskEvents(
  db: Database,
  taskIds: readonly string[],
  { version, limit }: EventRange,
): Promise<TaskEventRecord[][]> {
  const values = [distinct(taskIds), version, limit + 1]
  const rows = await db.query<TaskEventRecord>(eventsStatement, values, { retry: true })
  const events = new Map(taskIds.map((id): [string, TaskEventRecord[]] => [id, []]))
  for (const row of rows) events.get(row.taskId)?.push(row)
  return taskIds.map((id) => events.get(id) ?? [])
}

function distinct(ids: readonly string[]): string[] {
  return [...new Set(ids)]
}
