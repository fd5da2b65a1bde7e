import type { Database, Statement } from '../../platform/database/database.ts'
import type { Logger } from '../../platform/logger.ts'

/** Forgets reservations that are over for so long that nobody settles them any more. Any process may; rows that another one has are skipped. */
export interface BudgetHousekeeping {
  /** Returns how many were forgotten, at most `maxPerRound`. */
  round(): Promise<number>
  /** Ends the rounds; waits for the one under way. */
  stop(): Promise<void>
}

export type BudgetHousekeepingDeps = {
  db: Database
  logger: Logger
  /** Default: an hour. */
  everyMs?: number
}

export const maxPerRound = 5_000

const forgetStatement: Statement = {
  name: 'budget_forget',
  text: `
    DELETE FROM budget_reservation r USING (
      SELECT model_attempt_id, budget_id FROM budget_reservation
       WHERE (settled_at IS NOT NULL OR expired_at IS NOT NULL) AND expires_at < clock_timestamp() - interval '7 days'
       ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED) AS over
     WHERE r.model_attempt_id = over.model_attempt_id AND r.budget_id = over.budget_id
    RETURNING 1`,
}

export function startBudgetHousekeeping({
  db,
  logger,
  everyMs = 3_600_000,
}: BudgetHousekeepingDeps): BudgetHousekeeping {
  let running: Promise<void> = Promise.resolve()
  let isStopped = false

  async function round(): Promise<number> {
    return (await db.query(forgetStatement, [maxPerRound])).length
  }

  async function rounds(): Promise<void> {
    try {
      while (!isStopped && (await round()) === maxPerRound);
    } catch (error) {
      logger.warn({ err: error }, 'old reservations of budgets could not be forgotten; it is tried again')
    }
  }

  const timer = setInterval(() => {
    running = running.then(rounds)
  }, everyMs)
  timer.unref()
  return {
    round,
    async stop() {
      isStopped = true
      clearInterval(timer)
      await running
    },
  }
}
