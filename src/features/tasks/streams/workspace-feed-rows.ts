import type { Database, Statement } from '../../../platform/database/database.ts'
import { parseTransition } from '../engine/task-json.ts'
import type { TaskTransition } from './task-messages.ts'

const maxEventsPerPage = 500

/** What one statement read of a workspace's feed. */
export type FeedRows = {
  /** The sequence number of the workspace's last event. */
  lastSeq: number
  /** In the order of the feed; at most a page. The task is as it is now. */
  transitions: readonly TaskTransition[]
}

/** `afterSeq` null: no events, only where the feed is. */
export type FeedRange = { workspaceId: string; userId: string; afterSeq: number | null }

// A foreign workspace looks like a missing one.
const readStatement: Statement = {
  name: 'workspace_feed_read',
  text: `
    SELECT c.feed_seq AS "lastSeq",
           (SELECT coalesce(json_agg(json_build_object('event', to_jsonb(e), 'task', task_json(t), 'output', NULL) ORDER BY e.seq), '[]')
              FROM (SELECT * FROM task_event WHERE workspace_id = c.workspace_id AND seq > $3 ORDER BY seq LIMIT $4) e
              JOIN task t ON t.id = e.task_id) AS transitions
      FROM workspace_counter c
      JOIN workspace_member m ON m.workspace_id = c.workspace_id AND m.user_id = $2
     WHERE c.workspace_id = $1`,
}

const headsStatement: Statement = {
  name: 'workspace_feed_heads',
  text: `SELECT workspace_id AS id, feed_seq AS seq FROM workspace_counter WHERE workspace_id = ANY ($1)`,
}

/** Reads on in a feed; null when there is no such workspace. */
export async function readFeedRows(db: Database, range: FeedRange): Promise<FeedRows | null> {
  const { workspaceId, userId, afterSeq } = range
  const values = [workspaceId, userId, afterSeq ?? 0, afterSeq === null ? 0 : maxEventsPerPage]
  const [row] = await db.query<{ lastSeq: number; transitions: unknown[] }>(readStatement, values, { retry: true })
  return row === undefined ? null : { lastSeq: row.lastSeq, transitions: row.transitions.map(parseTransition) }
}

/** The sequence numbers of the last events of these workspaces; missing workspaces are left out. */
export async function readFeedHeads(db: Database, workspaceIds: readonly string[]): Promise<Map<string, number>> {
  const rows = await db.query<{ id: string; seq: number }>(headsStatement, [workspaceIds], { retry: true })
  return new Map(rows.map(({ id, seq }) => [id, seq]))
}
