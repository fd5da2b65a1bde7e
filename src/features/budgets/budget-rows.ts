import type { BudgetPeriod } from '../../generated/prisma/client.ts'
import type { Database, Statement } from '../../platform/database/database.ts'

/** A budget, with where it is in its present period. */
export type Budget = {
  id: string
  workspaceId: string
  /** Null: of the whole workspace. */
  agentId: string | null
  period: BudgetPeriod
  limitNanoUsd: number
  spentNanoUsd: number
  /** What calls that are under way may cost at the most. */
  reservedNanoUsd: number
  hard: boolean
}

const columns = `
  b.id, b.workspace_id AS "workspaceId", b.agent_id AS "agentId", b.period, b.limit_nano_usd AS "limitNanoUsd", b.hard,
  coalesce(l.spent_nano_usd, 0) AS "spentNanoUsd",
  -- Not the balance's own sum, which still has what has expired since the last call.
  coalesce((SELECT sum(r.amount_nano_usd) FROM budget_reservation r
             WHERE r.budget_id = b.id AND r.period_start = l.period_start AND r.settled_at IS NULL AND r.expired_at IS NULL
               AND r.expires_at > clock_timestamp()), 0)::float8 AS "reservedNanoUsd"
  FROM budget b
  LEFT JOIN budget_balance l ON l.budget_id = b.id AND l.period_start = budget_period_start(b.period, now())`

const byIdStatement: Statement = { name: 'budget_by_id', text: `SELECT ${columns} WHERE b.id = ANY ($1)` }

const byWorkspaceStatement: Statement = {
  name: 'budget_by_workspace',
  text: `SELECT ${columns} WHERE b.workspace_id = ANY ($1) ORDER BY b.agent_id NULLS FIRST, b.period, b.id`,
}

/** What does not exist is missing from the answer. */
export async function readBudgets(db: Database, ids: readonly string[]): Promise<Budget[]> {
  return db.query<Budget>(byIdStatement, [ids], { retry: true })
}

/** In the order of the ids; each workspace's own first, then by agent and period. */
export async function readBudgetsOf(db: Database, workspaceIds: readonly string[]): Promise<Budget[][]> {
  const rows = await db.query<Budget>(byWorkspaceStatement, [workspaceIds], { retry: true })
  return workspaceIds.map((id) => rows.filter(({ workspaceId }) => workspaceId === id))
}
