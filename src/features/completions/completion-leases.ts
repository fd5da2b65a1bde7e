import type { Database, Statement } from '../../platform/database/database.ts'

/** Who runs a completion with a key: one process at a time, for as long as it keeps the lease. */
export interface CompletionLeases {
  /** Begins one; false: the workspace has used the key. */
  begin(completion: NewCompletion): Promise<boolean>
  /** The completion with this key, which somebody wants to hear from now on; null: there is none. */
  find(workspaceId: string, key: string): Promise<FoundCompletion | null>
  /** Takes over what its process left behind or was given up; the number of its latest segment, or null when it is neither. */
  takeOver(id: string, leaseToken: string): Promise<number | null>
  /** Keeps the leases, and says which completions are being listened to. What is missing from the answer is not ours any more. */
  beat(
    leaseTokens: readonly string[],
    wantedIds: readonly string[],
  ): Promise<{ leaseToken: string; isUnwanted: boolean }[]>
  /** Gives a lease up: the next reader's process takes over. */
  release(leaseToken: string): Promise<void>
}

export type NewCompletion = {
  id: string
  workspaceId: string
  userId: string
  key: string
  /** Hexadecimal. */
  requestHash: string
  leaseToken: string
}

export type FoundCompletion = { id: string; requestHash: string; status: string }

/** In milliseconds. */
export type CompletionTimings = {
  /** How long a silent process keeps its completions. */
  leaseMs: number
  /** How often leases are kept and listeners are told of. */
  beatMs: number
  /** How long a completion goes on when nobody listens. */
  unwantedMs: number
}

export const defaultCompletionTimings: CompletionTimings = { leaseMs: 12_000, beatMs: 4_000, unwantedMs: 30_000 }

const beginStatement: Statement = {
  name: 'completion_begin',
  text: `
    INSERT INTO completion (id, workspace_id, user_id, key, request_hash, status, lease_token, lease_expires_at, wanted_at, created_at)
    VALUES ($1, $2, $3, $4, decode($5, 'hex'), 'RUNNING', $6, clock_timestamp() + $7 * interval '1 millisecond', clock_timestamp(), clock_timestamp())
    ON CONFLICT (workspace_id, key) DO NOTHING
    RETURNING id`,
}
const findStatement: Statement = {
  name: 'completion_find',
  text: `
    UPDATE completion SET wanted_at = clock_timestamp() WHERE workspace_id = $1 AND key = $2
    RETURNING id, encode(request_hash, 'hex') AS "requestHash", status`,
}
const takeOverStatement: Statement = {
  name: 'completion_take_over',
  text: `
    UPDATE completion c SET
      status = 'RUNNING', lease_token = $2, lease_expires_at = clock_timestamp() + $3 * interval '1 millisecond', wanted_at = clock_timestamp(),
      text = NULL, error_code = NULL, error_message = NULL, finished_at = NULL
     WHERE c.id = $1 AND ((c.status = 'RUNNING' AND c.lease_expires_at <= clock_timestamp()) OR c.status = 'CANCELLED')
    RETURNING (SELECT coalesce(max(s.segment), 0) FROM completion_segment s WHERE s.completion_id = c.id) AS "lastSegment"`,
}
// The rows are locked in id order, because every process does this for what overlaps.
const beatStatement: Statement = {
  name: 'completion_beat',
  text: `
    WITH ours AS (
      SELECT id FROM completion WHERE status = 'RUNNING' AND (id = ANY ($2) OR lease_token = ANY ($1)) ORDER BY id FOR NO KEY UPDATE
    )
    UPDATE completion c SET
      wanted_at = CASE WHEN c.id = ANY ($2) THEN clock_timestamp() ELSE c.wanted_at END,
      lease_expires_at = CASE WHEN c.lease_token = ANY ($1) AND c.lease_expires_at > clock_timestamp()
                              THEN clock_timestamp() + $3 * interval '1 millisecond' ELSE c.lease_expires_at END
      FROM ours WHERE c.id = ours.id
    RETURNING c.lease_token AS "leaseToken", c.lease_expires_at > clock_timestamp() AS "isLive",
              c.wanted_at < clock_timestamp() - $4 * interval '1 millisecond' AS "isUnwanted"`,
}
const releaseStatement: Statement = {
  name: 'completion_release',
  text: `UPDATE completion SET lease_expires_at = clock_timestamp() WHERE lease_token = $1 AND status = 'RUNNING'`,
}

export function createCompletionLeases({
  db,
  timings,
}: {
  db: Database
  timings: CompletionTimings
}): CompletionLeases {
  const { leaseMs, beatMs, unwantedMs } = timings
  return {
    async begin({ id, workspaceId, userId, key, requestHash, leaseToken }) {
      const values = [id, workspaceId, userId, key, requestHash, leaseToken, leaseMs]
      return (await db.query(beginStatement, values)).length > 0
    },
    async find(workspaceId, key) {
      const [found] = await db.query<FoundCompletion>(findStatement, [workspaceId, key], { retry: true })
      return found ?? null
    },
    async takeOver(id, leaseToken) {
      const [taken] = await db.query<{ lastSegment: number }>(takeOverStatement, [id, leaseToken, leaseMs])
      return taken?.lastSegment ?? null
    },
    async beat(leaseTokens, wantedIds) {
      type Row = { leaseToken: string; isLive: boolean; isUnwanted: boolean }
      // A listener is told of once a beat, so the last time may be as old.
      const values = [leaseTokens, wantedIds, leaseMs, unwantedMs + beatMs]
      const rows = await db.query<Row>(beatStatement, values, { retry: true })
      return rows.filter(({ isLive }) => isLive)
    },
    async release(leaseToken) {
      await db.query(releaseStatement, [leaseToken], { retry: true })
    },
  }
}
