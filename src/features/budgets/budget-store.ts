import DataLoader from 'dataloader'
import type { BudgetPeriod } from '../../generated/prisma/client.ts'
import type { Database, Statement } from '../../platform/database/database.ts'

/** What came of asking for money. */
export type Reservation =
  | { outcome: 'none' }
  /** `hard`: one of the budgets refuses what is too much, so what may be spent must have a maximum. */
  | { outcome: 'reserved'; hard: boolean }
  | BudgetRefusal

export type BudgetRefusal = {
  outcome: 'refused'
  budgetId: string
  period: BudgetPeriod
  limitNanoUsd: number
  spentNanoUsd: number
  reservedNanoUsd: number
  /**
   * `price_unknown`; `too_large`: more than the whole limit; `spent`: more than what is left of the period; `reserved`: as much is left, but
   * other calls hold it.
   */
  why: 'price_unknown' | 'too_large' | 'spent' | 'reserved'
  /** When it may be tried again; null: time will not help. */
  freesInMs: number | null
}

/** A threshold that a budget's spending has passed. */
export type BudgetAlert = {
  budgetId: string
  workspaceId: string
  agentId: string | null
  period: BudgetPeriod
  percent: number
}

export type BudgetCall = {
  attemptId: string
  workspaceId: string
  agentId: string | null
  /** Null: what the call may cost is not known. */
  amountNanoUsd: bigint | null
  /** When the reservation expires by itself. */
  ttlMs: number
}

/** The budgets as calls meet them; what is asked at once is one statement. Both methods are safe to repeat. */
export interface BudgetStore {
  /** In all budgets of the workspace and the agent, or in none. */
  reserve(call: BudgetCall): Promise<Reservation>
  /** 0 releases. What has no reservation, or is settled, is passed over. Returns the alerts that it has fired. */
  settle(attemptId: string, costNanoUsd: bigint): Promise<BudgetAlert[]>
}

const reserveStatement: Statement = {
  name: 'budget_reserve_all',
  text: 'SELECT reservation FROM budget_reserve_all($1)',
}
// Does not wait for the disk: an answer waits for it, and what a crash of PostgreSQL takes back is settled by the ledger or expires.
const settleStatement: Statement = {
  name: 'budget_settle',
  text: `SELECT budget_settle($1) AS alert FROM set_config('synchronous_commit', 'off', true)`,
}

/** So that no statement holds many balances for long. */
const maxCallsPerStatement = 50

export function createBudgetStore({ db }: { db: Database }): BudgetStore {
  const batches = { cache: false, maxBatchSize: maxCallsPerStatement }

  const reservations = new DataLoader(async (calls: readonly BudgetCall[]): Promise<Reservation[]> => {
    const values = [JSON.stringify(calls.map(callJson))]
    const rows = await db.query<{ reservation: Reservation }>(reserveStatement, values, { retry: true })
    return rows.map(({ reservation }) => reservation)
  }, batches)

  const settlements = new DataLoader(async (ends: readonly Settlement[]): Promise<BudgetAlert[][]> => {
    const json = ends.map(({ attemptId, costNanoUsd }) => ({ id: attemptId, cost_nano_usd: costNanoUsd.toString() }))
    const rows = await db.query<{ alert: BudgetAlert }>(settleStatement, [JSON.stringify(json)], { retry: true })
    // They are the batch's: the first to ask hears of them.
    return ends.map((_end, index) => (index === 0 ? rows.map(({ alert }) => alert) : []))
  }, batches)

  return {
    reserve: (call) => reservations.load(call),
    settle: (attemptId, costNanoUsd) => settlements.load({ attemptId, costNanoUsd }),
  }
}

type Settlement = { attemptId: string; costNanoUsd: bigint }

function callJson({ attemptId, workspaceId, agentId, amountNanoUsd, ttlMs }: BudgetCall): Record<string, unknown> {
  return {
    attempt_id: attemptId,
    workspace_id: workspaceId,
    agent_id: agentId,
    amount_nano_usd: amountNanoUsd?.toString() ?? null,
    ttl_ms: ttlMs,
  }
}
