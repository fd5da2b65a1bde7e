import type { CompletionStatus } from '../../generated/prisma/client.ts'
import { AppError, type ErrorCode } from '../../lib/errors.ts'
import type { Database, Statement } from '../../platform/database/database.ts'
import { toTotals, usageSums } from '../usage/usage.ts'
import type { Completion, CompletionAttempt, CompletionFailure } from './completion-items.ts'
import type { CompletionPosition } from './completion-cursor.ts'

/** What the rows have of a completion with a key, for a reader at a position: one statement. */
export type CompletionRows = {
  id: string
  status: CompletionStatus
  /** It is RUNNING, and nobody runs it any more. */
  isAbandoned: boolean
  cached: boolean
  segment: { segment: number; model: string | null; reason: string | null; length: number } | null
  /** Text of that segment that goes on from the position (from its start when the position is in an earlier one); null: nothing new. */
  text: { offset: number; text: string } | null
  /** Set when it has ended. */
  end: { completion: Completion } | { failure: CompletionFailure } | null
}

/** Where a completion is, by its rows. */
export type CompletionHead = { status: CompletionStatus; isAbandoned: boolean; segment: number; length: number }

type ReadRow = Pick<CompletionRows, 'id' | 'status' | 'isAbandoned' | 'cached'> & {
  segment: number | null
  segmentModel: string | null
  reason: string | null
  length: number
  chunks: string | null
  start: number | null
  until: number | null
  text: string | null
  json: unknown
  model: string | null
  finishReason: string | null
  latencyMs: number | null
  timeToFirstTokenMs: number | null
  errorCode: string | null
  errorMessage: string | null
  attempts: CompletionAttempt[]
  usage: Parameters<typeof toTotals>[0] | null
}

const runningText = `c.status = 'RUNNING' AND c.lease_expires_at <= clock_timestamp() AS "isAbandoned"`

const readStatement: Statement = {
  name: 'completion_read',
  text: `
    SELECT c.id, c.status, ${runningText}, c.cached,
           s.segment, s.model AS "segmentModel", s.reason,
           coalesce(s.length, (SELECT max(start_offset + length) FROM completion_chunk WHERE completion_id = c.id AND segment = s.segment), 0) AS length,
           k.text AS chunks, k.start, k.until,
           c.text, c.json, c.model, c.finish_reason AS "finishReason", c.latency_ms AS "latencyMs",
           c.time_to_first_token_ms AS "timeToFirstTokenMs", c.error_code AS "errorCode", c.error_message AS "errorMessage",
           (SELECT coalesce(json_agg(json_build_object('model', a.model, 'outcome', a.outcome, 'status', a.status, 'message', a.message,
                                                       'durationMs', a.duration_ms, 'requestId', a.request_id,
                                                       'modelVersion', a.model_version) ORDER BY a.at, a.id), '[]')
              FROM model_attempt a WHERE a.completion_id = c.id AND c.status <> 'RUNNING') AS attempts,
           (SELECT to_json(used) FROM (SELECT ${usageSums} FROM usage_record WHERE id = (
              SELECT a.id FROM model_attempt a WHERE a.completion_id = c.id AND a.outcome IN ('succeeded', 'cached') ORDER BY a.at DESC, a.id DESC LIMIT 1)) used
             WHERE c.status = 'SUCCEEDED') AS usage
      FROM completion c
      LEFT JOIN LATERAL (
        SELECT *, CASE WHEN segment = $2 THEN $3 ELSE 0 END AS seen FROM completion_segment WHERE completion_id = c.id ORDER BY segment DESC LIMIT 1
      ) s ON true
      LEFT JOIN LATERAL (
        SELECT min(start_offset) AS start, max(start_offset + length) AS until, string_agg(text, '' ORDER BY start_offset) AS text
          FROM completion_chunk
         WHERE completion_id = c.id AND segment = s.segment AND start_offset + length > s.seen
      ) k ON s.length IS NULL
     WHERE c.id = $1`,
}

const headsStatement: Statement = {
  name: 'completion_heads',
  text: `
    SELECT c.id, c.status, ${runningText}, coalesce(s.segment, 0) AS segment, coalesce(s.length, k.length, 0) AS length
      FROM completion c
      LEFT JOIN LATERAL (SELECT segment, length FROM completion_segment WHERE completion_id = c.id ORDER BY segment DESC LIMIT 1) s ON true
      LEFT JOIN LATERAL (
        SELECT start_offset + length AS length FROM completion_chunk
         WHERE completion_id = c.id AND segment = s.segment ORDER BY start_offset DESC LIMIT 1
      ) k ON s.length IS NULL
     WHERE c.id = ANY ($1)`,
}

/** Reads on from a position; null when there is no such completion. */
export async function readCompletion(
  db: Database,
  id: string,
  position: CompletionPosition,
): Promise<CompletionRows | null> {
  const [row] = await db.query<ReadRow>(readStatement, [id, position.segment, position.offset], { retry: true })
  if (row === undefined) return null
  const { status, isAbandoned, cached, segment, segmentModel, reason } = row
  const length = segment !== null && row.status !== 'RUNNING' ? (row.text ?? '').length : row.length
  return {
    id,
    status,
    isAbandoned,
    cached,
    segment: segment === null ? null : { segment, model: segmentModel, reason, length },
    text: textOf(row),
    end: endOf(row),
  }
}

/** Where the rows of these completions are; missing ones are left out. */
export async function readCompletionHeads(db: Database, ids: readonly string[]): Promise<Map<string, CompletionHead>> {
  const rows = await db.query<CompletionHead & { id: string }>(headsStatement, [ids], { retry: true })
  return new Map(
    rows.map(({ id, status, isAbandoned, segment, length }) => [id, { status, isAbandoned, segment, length }]),
  )
}

function textOf({ status, text, chunks, start, until }: ReadRow): CompletionRows['text'] {
  if (status !== 'RUNNING') return text === null ? null : { offset: 0, text }
  if (chunks === null || start === null || until === null) return null
  if (chunks.length !== until - start) throw new Error(`the chunks from ${start} to ${until} are not whole`)
  return { offset: start, text: chunks }
}

function endOf(row: ReadRow): CompletionRows['end'] {
  switch (row.status) {
    case 'RUNNING':
      return null
    case 'SUCCEEDED':
      return { completion: completionOfRow(row) }
    case 'FAILED':
    case 'CANCELLED':
      return { failure: failureOfRow(row) }
  }
}

function completionOfRow(row: ReadRow): Completion {
  const { id, json, model, finishReason, cached, latencyMs, timeToFirstTokenMs, attempts, usage } = row
  if (model === null || finishReason === null || latencyMs === null || usage === null)
    throw new Error(`the completion ${id} has succeeded and is not whole`)
  const rest = { cached, latencyMs, timeToFirstTokenMs, attempts }
  return { id, text: row.text ?? '', json, model, finishReason, usage: toTotals(usage), ...rest }
}

function failureOfRow({ errorCode, errorMessage, text, attempts }: ReadRow): CompletionFailure {
  const code = errorCode ?? 'ABORTED'
  const message = errorMessage ?? 'It was aborted.'
  const details = { kind: code.toLowerCase() }
  const error = new AppError(errorCodes.get(code) ?? 'MODEL_FAILED', message, { details })
  return { code, message, retryAfterMs: null, partialText: text ?? '', attempts, error }
}

const errorCodes: ReadonlyMap<string, ErrorCode> = new Map([
  ['BUDGET_EXCEEDED', 'BUDGET_EXCEEDED'],
  ['RATE_LIMIT_EXCEEDED', 'RATE_LIMITED'],
])
