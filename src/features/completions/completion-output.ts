import type { Database, Statement } from '../../platform/database/database.ts'
import { splitText, type OutputWrite } from '../tasks/output/output-statement.ts'

// What output-statement.ts does for tasks, for completions with a key: fenced by the lease, safe to repeat.
const writeStatement: Statement = {
  name: 'completion_output_write',
  text: `
    WITH run AS (
      SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::text[], $5::text[], $6::boolean[])
        WITH ORDINALITY AS run (completion_id, lease_token, segment, model, reason, opens, position)
    ), held AS MATERIALIZED (
      SELECT run.*
        FROM run JOIN completion c ON c.id = run.completion_id AND c.lease_token = run.lease_token
       WHERE c.status = 'RUNNING' AND c.lease_expires_at > clock_timestamp()
       ORDER BY c.id FOR SHARE OF c
    ), opened AS (
      INSERT INTO completion_segment (completion_id, segment, model, reason)
      SELECT completion_id, segment, model, reason FROM held WHERE opens
      ON CONFLICT (completion_id, segment) DO NOTHING
    ), dropped AS (
      DELETE FROM completion_chunk c USING held WHERE held.opens AND c.completion_id = held.completion_id AND c.segment < held.segment
    ), written AS (
      INSERT INTO completion_chunk (completion_id, segment, start_offset, length, text)
      SELECT held.completion_id, held.segment, chunk.start_offset, chunk.length, chunk.text
        FROM unnest($7::int[], $8::int[], $9::int[], $10::text[]) AS chunk (position, start_offset, length, text)
        JOIN held USING (position)
      ON CONFLICT (completion_id, segment, start_offset) DO UPDATE SET length = EXCLUDED.length, text = EXCLUDED.text
    )
    SELECT position::int FROM held`,
}

/** The store of an OutputWriter for completions: `taskId` is the completion's id. */
export async function writeCompletionOutput(
  db: Database,
  writes: readonly OutputWrite[],
): Promise<ReadonlySet<OutputWrite>> {
  const chunks = writes.flatMap(splitText)
  const rows = await db.query<{ position: number }>(writeStatement, [
    writes.map((write) => write.taskId),
    writes.map((write) => write.leaseToken),
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
