import type { Database, Statement } from '../../platform/database/database.ts'
import { startHousekeeping, type Housekeeping } from '../../platform/housekeeping.ts'
import type { Logger } from '../../platform/logger.ts'

export type BudgetHousekeepingDeps = { db: Database; logger: Logger; everyMs?: number }

const maxPerRound = 5_000

const forgetStatement: Statement = {
  name: 'budget_forget',
  text: `
    DELETE FROM budget_reservation r USING (
      SELECT model_attempt_id, budget_id FROM budget_reservation
       WHERE (settled_at IS NOT NULL OR expired_at IS NOT NULL) AND expires_at < now() - interval '7 days'
       ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED) AS over
     WHERE r.model_attempt_id = over.model_attempt_id AND r.budget_id = over.budget_id
    RETURNING 1`,
}

/** Forgets reservations that are over for so long that nobody settles them any more. */
export function startBudgetHousekeeping({ db, logger, everyMs }: BudgetHousekeepingDeps): Housekeeping {
  return startHousekeeping({
    what: 'old reservations of budgets',
    round: async () => (await db.query(forgetStatement, [maxPerRound])).length,
    maxPerRound,
    logger,
    everyMs,
  })
}
