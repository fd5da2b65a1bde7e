import type { Database, Statement } from '../../../platform/database/database.ts'
import type { Viewer } from '../../accounts/viewer.ts'
import { maxChunkUnits } from '../output/output-statement.ts'
import type { TaskPosition } from './task-cursor.ts'
import { parseTask } from '../engine/task-json.ts'
import type { TaskEventRecord, TaskRow } from './task-messages.ts'
import type { TaskHead, TaskRows } from './task-stream-state.ts'

const maxEventsPerPage = 500
const maxUnitsPerPage = 64 * 1024
const maxInteger = 0x7fff_ffff

/** What a reader may see, and the whole of it in one snapshot: one statement. Foreign tasks look like missing ones. */
type Scope = { taskId: string; viewer: Viewer }

// One row. While the task runs its text is in chunks, read in pages; when it has ended (then the segment's length is set) the text is in
// task_content and read whole: Postgres counts code points, so cutting it at an offset in UTF-16 units would mean reading it anyway.
const readStatement: Statement = {
  name: 'task_stream_read',
  text: `
    SELECT task_json(t) AS task,
           (SELECT coalesce(json_agg(e ORDER BY e.version), '[]')
              FROM (SELECT task_id AS "taskId", workspace_id AS "workspaceId", seq, version, type, status, attempt, reason, at
                      FROM task_event WHERE task_id = t.id AND version > $3 ORDER BY version LIMIT $6) e) AS events,
           s.segment, s.attempt, s.model, s.reason,
           coalesce(s.length, (SELECT start_offset + length FROM output_chunk
                                WHERE task_id = t.id AND segment = s.segment ORDER BY start_offset DESC LIMIT 1), 0) AS length,
           c.start, c.until, c.text AS chunks,
           CASE WHEN s.length > s.seen THEN (SELECT output FROM task_content WHERE task_id = t.id) END AS output
      FROM task t
      JOIN workspace_member m ON m.workspace_id = t.workspace_id AND m.user_id = $2
      LEFT JOIN LATERAL (
        SELECT *, CASE WHEN segment = $4 THEN $5 ELSE 0 END AS seen FROM output_segment WHERE task_id = t.id ORDER BY segment DESC LIMIT 1
      ) s ON true
      LEFT JOIN LATERAL (
        SELECT min(start_offset) AS start, max(start_offset + length) AS until, string_agg(text, '' ORDER BY start_offset) AS text
          FROM output_chunk
         WHERE task_id = t.id AND segment = s.segment
           AND start_offset > s.seen - $8 AND start_offset < s.seen::bigint + $7 AND start_offset + length > s.seen
      ) c ON s.length IS NULL
     WHERE t.id = $1 AND ($9::uuid IS NULL OR t.workspace_id = $9)`,
}

const headsStatement: Statement = {
  name: 'task_stream_heads',
  text: `
    SELECT t.id, t.version, coalesce(s.segment, 0) AS segment, coalesce(s.length, c.length, 0) AS length
      FROM task t
      LEFT JOIN LATERAL (SELECT segment, length FROM output_segment WHERE task_id = t.id ORDER BY segment DESC LIMIT 1) s ON true
      LEFT JOIN LATERAL (
        SELECT start_offset + length AS length FROM output_chunk
         WHERE task_id = t.id AND segment = s.segment ORDER BY start_offset DESC LIMIT 1
      ) c ON s.length IS NULL
     WHERE t.id = ANY ($1)`,
}

type EventJson = Omit<TaskEventRecord, 'at'> & { at: string }

type ReadRow = {
  task: unknown
  events: readonly EventJson[]
  segment: number | null
  attempt: number
  model: string | null
  reason: string | null
  length: number
  /** The chunks, joined, and what they should cover; null: there are none. */
  chunks: string | null
  start: number | null
  until: number | null
  output: string | null
}

/** Reads on from a position; null when there is no such task. */
export async function readTaskRows(db: Database, scope: Scope, position: TaskPosition): Promise<TaskRows | null> {
  const row = await readRow(db, scope, { ...position, maxEvents: maxEventsPerPage, maxUnits: maxUnitsPerPage })
  if (row === null) return null
  const { segment, attempt, model, reason } = row
  const length = row.output?.length ?? row.length
  return {
    task: parseTask(row.task),
    events: row.events.map(parseEvent),
    segment: segment === null ? null : { segment, attempt, model, reason, length },
    text: textOf(row),
  }
}

/** A task with all of its output so far, and where that is; null when there is no such task. */
export async function readTaskSnapshot(
  db: Database,
  scope: Scope,
): Promise<{ task: TaskRow; output: string; position: TaskPosition } | null> {
  const everything = { segment: 0, offset: 0, maxUnits: maxInteger }
  const row = await readRow(db, scope, { ...everything, version: maxInteger, maxEvents: 0 })
  if (row === null) return null
  const task = parseTask(row.task)
  const output = textOf(row)?.text ?? ''
  return { task, output, position: { version: task.version, segment: row.segment ?? 0, offset: output.length } }
}

/** Where the rows of these tasks are; missing tasks are left out. */
export async function readTaskHeads(db: Database, taskIds: readonly string[]): Promise<Map<string, TaskHead>> {
  const rows = await db.query<TaskHead & { id: string }>(headsStatement, [taskIds], { retry: true })
  return new Map(rows.map(({ id, version, segment, length }) => [id, { version, segment, length }]))
}

type ReadRange = TaskPosition & { maxEvents: number; maxUnits: number }

async function readRow(db: Database, { taskId, viewer }: Scope, range: ReadRange): Promise<ReadRow | null> {
  const { version, segment, offset, maxEvents, maxUnits } = range
  const { userId, apiKey } = viewer
  const within = apiKey?.workspaceId ?? null
  const values = [taskId, userId, version, segment, offset, maxEvents, maxUnits, maxChunkUnits, within]
  const [row] = await db.query<ReadRow>(readStatement, values, { retry: true })
  return row ?? null
}

function parseEvent({ at, ...event }: EventJson): TaskEventRecord {
  return { ...event, at: new Date(at) }
}

function textOf({ output, chunks, start, until }: ReadRow): { offset: number; text: string } | null {
  if (output !== null) return { offset: 0, text: output }
  if (chunks === null || start === null || until === null) return null
  if (chunks.length !== until - start) throw new Error(`the chunks from ${start} to ${until} are not whole`)
  return { offset: start, text: chunks }
}
