import type { Database, Statement } from '../../../platform/database/database.ts'

/** The longest text of one chunk row, in UTF-16 units. Reading on from an offset relies on it. */
export const maxChunkUnits = 16 * 1024

/** What one run has to write: text of one segment from `offset` on, all that is not in rows yet. */
export type OutputWrite = {
  taskId: string
  leaseToken: string
  attempt: number
  segment: number
  model: string
  /** Why the text before the segment is dropped. */
  reason: string | null
  /** Where `text` begins in the segment, in UTF-16 units. 0 opens the segment and drops the text of earlier ones. */
  offset: number
  text: string
}

// One statement for the runs of a whole process. The lease rows are locked first, in id order: without the lock a take-over that is not
// committed yet would let a stale write through. Foreign keys are checked when the statement is done, so a segment and its first chunks
// may come together. Every part can be repeated: when the answer to a commit was lost, the same text comes again, perhaps longer.
const writeStatement: Statement = {
  name: 'output_write',
  text: `
    WITH run AS (
      SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::int[], $5::text[], $6::text[], $7::boolean[])
        WITH ORDINALITY AS run (task_id, lease_token, attempt, segment, model, reason, opens, position)
    ), held AS MATERIALIZED (
      SELECT run.*
        FROM run JOIN task t ON t.id = run.task_id AND t.lease_token = run.lease_token
       WHERE t.status = 'RUNNING' AND t.lease_expires_at > clock_timestamp()
       ORDER BY t.id FOR SHARE OF t
    ), opened AS (
      INSERT INTO output_segment (task_id, segment, attempt, model, reason)
      SELECT task_id, segment, attempt, model, reason FROM held WHERE opens
      ON CONFLICT (task_id, segment) DO NOTHING
    ), dropped AS (
      DELETE FROM output_chunk c USING held WHERE held.opens AND c.task_id = held.task_id AND c.segment < held.segment
    ), written AS (
      INSERT INTO output_chunk (task_id, segment, start_offset, length, text)
      SELECT held.task_id, held.segment, chunk.start_offset, chunk.length, chunk.text
        FROM unnest($8::int[], $9::int[], $10::int[], $11::text[]) AS chunk (position, start_offset, length, text)
        JOIN held USING (position)
      ON CONFLICT (task_id, segment, start_offset) DO UPDATE SET length = EXCLUDED.length, text = EXCLUDED.text
    )
    SELECT position::int FROM held`,
}

/**
 * Writes the output of several runs, in one transaction of its own. Returns those of `writes` whose lease is still theirs; nothing was
 * written of the others.
 */
export async function writeOutput(db: Database, writes: readonly OutputWrite[]): Promise<ReadonlySet<OutputWrite>> {
  const chunks = writes.flatMap(splitText)
  const rows = await db.query<{ position: number }>(writeStatement, [
    writes.map((write) => write.taskId),
    writes.map((write) => write.leaseToken),
    writes.map((write) => write.attempt),
    writes.map((write) => write.segment),
    writes.map((write) => write.model),
    writes.map((write) => write.reason),
    writes.map((write) => write.offset === 0),
    chunks.map((chunk) => chunk.position),
    chunks.map((chunk) => chunk.offset),
    chunks.map((chunk) => chunk.text.length),
    chunks.map((chunk) => chunk.text),
  ])
  const accepted = new Set(rows.map((row) => row.position))
  return new Set(writes.filter((_write, index) => accepted.has(index + 1)))
}

export type Chunk = { position: number; offset: number; text: string }

/**
 * Splits text into chunks, never inside a surrogate pair. From the same offset the same text is always split in the same places, so what
 * is written twice covers the same rows.
 */
export function splitText({ offset, text }: OutputWrite, index: number): Chunk[] {
  const chunks: Chunk[] = []
  for (let start = 0; start < text.length;) {
    const end = Math.min(start + maxChunkUnits, text.length)
    const isPairCut = end < text.length && /[\uD800-\uDBFF]/.test(text.charAt(end - 1))
    const chunk = text.slice(start, isPairCut ? end - 1 : end)
    chunks.push({ position: index + 1, offset: offset + start, text: chunk })
    start += chunk.length
  }
  return chunks
}
