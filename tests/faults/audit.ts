import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { rulesAlways, rulesAtRest } from './audit-rules.ts'

/** A task as its rows have it. */
export type AuditedTask = {
  id: string
  name: string | null
  status: string
  version: number
  attempt: number
  attemptsUsed: number
  output: string | null
  errorCode: string | null
  /** On the database's clock; null: it has not ended. */
  finishedAtMs: number | null
  attempts: AuditedAttempt[]
  calls: AuditedCall[]
}

export type AuditedAttempt = { number: number; status: string }

/** An upstream call in the ledger. */
export type AuditedCall = {
  attempt: number
  /** The provider's own id of the request. */
  requestId: string | null
  outcome: string
  /** Null: no usage row. */
  usage: { outputTokens: number; estimated: boolean } | null
}

export type AuditedEvent = { taskId: string; version: number; type: string; status: string }

export type Audit = {
  tasks: readonly AuditedTask[]
  /** By workspace, in the order of its feed. */
  feeds: ReadonlyMap<string, readonly AuditedEvent[]>
  /** What must not be, a sentence each. */
  problems: readonly string[]
}

const pollMs = 250

/**
 * Reads all rows of the engine in one snapshot, and holds them against the rules that no crash may break (audit-rules.ts). `isAtRest` says that
 * everything must have ended.
 */
export async function auditRows(databaseUrl: string, { isAtRest }: { isAtRest: boolean }): Promise<Audit> {
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  try {
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY')
    const problems: string[] = []
    for (const { rule, offenders } of isAtRest ? [...rulesAlways, ...rulesAtRest] : rulesAlways) {
      const { rows } = await client.query<{ id: string; found: string }>(offenders)
      problems.push(...rows.map(({ id, found }) => `${rule}: ${id} has ${found}`))
    }
    const tasks = await readTasks(client)
    problems.push(...tasks.flatMap(outputProblems))
    return { tasks: tasks, feeds: await readFeeds(client), problems }
  } finally {
    await client.end()
  }
}

/** Waits until no task is left that has not ended, and audits the rows then; after `timeoutMs` as they are. */
export async function auditAtRest(databaseUrl: string, timeoutMs: number): Promise<Audit> {
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  try {
    const deadlineMs = performance.now() + timeoutMs
    for (;;) {
      const { rows } = await client.query('SELECT 1 FROM task WHERE finished_at IS NULL LIMIT 1')
      if (rows.length === 0 || performance.now() > deadlineMs) return await auditRows(databaseUrl, { isAtRest: true })
      await delay(pollMs)
    }
  } finally {
    await client.end()
  }
}

type TaskRow = AuditedTask & { lastSegment: { segment: number; attempt: number; length: number | null } | null }

async function readTasks(client: pg.Client): Promise<TaskRow[]> {
  const { rows } = await client.query<TaskRow>(
    `SELECT t.id, t.name, t.status, t.version, t.attempt, t.attempts_used AS "attemptsUsed", c.output,
            t.error_code AS "errorCode",
            extract(epoch FROM t.finished_at)::float8 * 1000 AS "finishedAtMs",
            coalesce((SELECT jsonb_agg(jsonb_build_object('number', a.number, 'status', a.status) ORDER BY a.number)
               FROM task_attempt a WHERE a.task_id = t.id), '[]') AS attempts,
            coalesce((SELECT jsonb_agg(jsonb_build_object(
                        'attempt', m.attempt_number, 'requestId', m.request_id, 'outcome', m.outcome, 'usage',
                        CASE WHEN u.id IS NOT NULL THEN jsonb_build_object('outputTokens', u.output_tokens, 'estimated', u.estimated) END)
                      ORDER BY m.id)
               FROM model_attempt m LEFT JOIN usage_record u ON u.id = m.id WHERE m.task_id = t.id), '[]') AS calls,
            (SELECT jsonb_build_object('segment', s.segment, 'attempt', s.attempt, 'length', s.length)
               FROM output_segment s WHERE s.task_id = t.id ORDER BY s.segment DESC LIMIT 1) AS "lastSegment"
       FROM task t JOIN task_content c ON c.task_id = t.id ORDER BY t.id`,
  )
  return rows
}

async function readFeeds(client: pg.Client): Promise<Map<string, AuditedEvent[]>> {
  const { rows } = await client.query<AuditedEvent & { workspaceId: string }>(
    `SELECT workspace_id AS "workspaceId", task_id AS "taskId", version, type, status FROM task_event ORDER BY workspace_id, seq`,
  )
  const feeds = new Map<string, AuditedEvent[]>()
  for (const { workspaceId, ...event } of rows) {
    const feed = feeds.get(workspaceId) ?? []
    feed.push(event)
    feeds.set(workspaceId, feed)
  }
  return feeds
}

// Lengths are in UTF-16 units, which the database does not count.
function outputProblems({ id, status, attempt, output, finishedAtMs, lastSegment }: TaskRow): string[] {
  const problems: string[] = []
  if (finishedAtMs !== null && lastSegment !== null && lastSegment.length !== (output ?? '').length)
    problems.push(
      `the last segment of an ended task is its output: ${id} has a segment of ${lastSegment.length} units and ${output?.length ?? 'no'} of output`,
    )
  if (status === 'SUCCEEDED' && (output ?? '') !== '' && lastSegment?.attempt !== attempt)
    problems.push(
      `the output of a task that succeeded is of its last attempt: ${id} has one of attempt ${lastSegment?.attempt} of ${attempt}`,
    )
  return problems
}
