import type { Database, Statement } from '../../platform/database/database.ts'
import type { Viewer } from '../accounts/viewer.ts'

/**
 * Where the feeds of the viewer's workspaces are, as of before anything else that one operation reads.
 *
 * Somebody who reads a list and the feed's cursor in one document, and then subscribes after the cursor, must miss nothing. What
 * happens between the two reads is missed when the list is read first, and merely told twice when the cursor is. So every list
 * waits for `before`, and the cursor comes from what that has read.
 */
export interface FeedHeads {
  /** Resolves when the heads have been read; they are read once. */
  before(): Promise<void>
  /** The sequence number of the last event in the workspace's feed. */
  seq(workspaceId: string): Promise<number>
}

const headsStatement: Statement = {
  name: 'feed_heads',
  text: `SELECT c.workspace_id AS "workspaceId", c.feed_seq AS seq
           FROM workspace_counter c JOIN workspace_member m USING (workspace_id) WHERE m.user_id = $1`,
}

export function createFeedHeads({ db, viewer }: { db: Database; viewer: Viewer | null }): FeedHeads {
  let reading: Promise<ReadonlyMap<string, number>> | undefined

  async function read(): Promise<ReadonlyMap<string, number>> {
    if (viewer === null) return new Map()
    const values = [viewer.userId]
    const rows = await db.query<{ workspaceId: string; seq: number }>(headsStatement, values, { retry: true })
    return new Map(rows.map(({ workspaceId, seq }) => [workspaceId, seq]))
  }

  return {
    async before() {
      await (reading ??= read())
    },
    async seq(workspaceId) {
      const heads = await (reading ??= read())
      // A workspace that this operation itself has made has no event yet.
      return heads.get(workspaceId) ?? 0
    },
  }
}
