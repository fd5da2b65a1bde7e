import type { Database, Statement } from '../../platform/database/database.ts'

/** The tasks that a task waits for: how many have not ended, and what the first three are called. */
export type Blockers = { count: number; names: readonly string[] }

// A task without a name is called by the beginning of what it was asked.
const blockersStatement: Statement = {
  name: 'task_blockers',
  text: `SELECT w.task_id AS "taskId", max(w.count)::int AS count, array_agg(w.name ORDER BY w.place) AS names
           FROM (SELECT d.task_id, count(*) OVER (PARTITION BY d.task_id) AS count,
                        row_number() OVER (PARTITION BY d.task_id ORDER BY d.position) AS place,
                        coalesce(t.name, (SELECT left(split_part(c.prompt, E'\\n', 1), 60) FROM task_content c WHERE c.task_id = t.id)) AS name
                   FROM task_dependency d JOIN task t ON t.id = d.depends_on_id
                  WHERE d.task_id = ANY ($1::uuid[]) AND t.finished_at IS NULL) AS w
          WHERE w.place <= 3 GROUP BY w.task_id`,
}

/** What tasks wait for; null for one that waits for none. One statement, answers in the order of `taskIds`. */
export async function readBlockers(db: Database, taskIds: readonly string[]): Promise<(Blockers | null)[]> {
  const rows = await db.query<Blockers & { taskId: string }>(blockersStatement, [[...new Set(taskIds)]], {
    retry: true,
  })
  const blockers = new Map(rows.map((row) => [row.taskId, row]))
  return taskIds.map((id) => blockers.get(id) ?? null)
}

/** A place in the queue is counted up to here; whoever is further behind does not wait for a number. */
export const maxCountedAhead = 100

const aheadStatement: Statement = {
  name: 'tasks_ahead',
  text: `SELECT t.id, (SELECT count(*) FROM (
                  SELECT FROM task q
                   WHERE q.agent_id = t.agent_id AND q.status = 'QUEUED' AND (q.claim_order, q.id) < (t.claim_order, t.id)
                   LIMIT ${maxCountedAhead}) AS first)::int AS ahead
           FROM task t WHERE t.id = ANY ($1::uuid[]) AND t.status = 'QUEUED'`,
}

/** How many tasks of their agent go before queued tasks, at most `maxCountedAhead`. One statement, answers in the order of `taskIds`. */
export async function readAhead(db: Database, taskIds: readonly string[]): Promise<number[]> {
  const rows = await db.query<{ id: string; ahead: number }>(aheadStatement, [[...new Set(taskIds)]], { retry: true })
  const ahead = new Map(rows.map((row) => [row.id, row.ahead]))
  return taskIds.map((id) => ahead.get(id) ?? 0)
}
