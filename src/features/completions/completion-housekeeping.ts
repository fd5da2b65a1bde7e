import type { Database, Statement } from '../../platform/database/database.ts'
import { startHousekeeping, type Housekeeping } from '../../platform/housekeeping.ts'
import type { Logger } from '../../platform/logger.ts'

export type CompletionHousekeepingDeps = {
  db: Database
  logger: Logger
  /** How long a completion is kept after its end, in days. */
  keptDays: number
  everyMs?: number
}

/** Each takes its text, its segments and its attempts with it. */
const maxPerRound = 1_000

// now() and not clock_timestamp(), which no index can be asked for: 34 ms to find nothing among 100 000, where this takes 0.5.
const forgetStatement: Statement = {
  name: 'completion_forget',
  text: `
    DELETE FROM completion c USING (
      SELECT id FROM completion WHERE finished_at < now() - $1 * interval '1 day'
       ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED) AS over
     WHERE c.id = over.id
    RETURNING 1`,
}
// A live one has a lease, however long ago it began.
const forgetLostStatement: Statement = {
  name: 'completion_forget_lost',
  text: `
    DELETE FROM completion c USING (
      SELECT id FROM completion
       WHERE status = 'RUNNING' AND created_at < now() - $1 * interval '1 day'
         AND lease_expires_at < now() - $1 * interval '1 day'
       ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED) AS over
     WHERE c.id = over.id
    RETURNING 1`,
}

/**
 * Forgets completions: those that have ended for so long, and those that were left behind and never asked for again. What they have cost stays in
 * the ledger. A key is new again afterwards.
 */
export function startCompletionHousekeeping(deps: CompletionHousekeepingDeps): Housekeeping {
  const { db, logger, keptDays, everyMs } = deps
  return startHousekeeping({
    what: 'old completions',
    async round() {
      const over = await db.query(forgetStatement, [keptDays, maxPerRound])
      const lost = await db.query(forgetLostStatement, [keptDays, maxPerRound])
      return Math.max(over.length, lost.length)
    },
    maxPerRound,
    logger,
    everyMs,
  })
}
