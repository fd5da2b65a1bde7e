import type { Agent, Workspace } from '../../generated/prisma/client.ts'
import { batchLoader, type BatchLoader } from '../../lib/batch-loader.ts'
import type { Database } from '../../platform/database/database.ts'
import { readBudgetsOf, type Budget } from './budget-rows.ts'

/** What of budgets is read for many at once, each by one statement. Whoever sees a budget sees what it is of. */
export interface BudgetLoaders {
  workspaceBudgets: BatchLoader<string, Budget[]>
  budgetWorkspaces: BatchLoader<string, Workspace>
  budgetAgents: BatchLoader<string, Agent>
}

export function createBudgetLoaders({ db }: { db: Database }): BudgetLoaders {
  return {
    workspaceBudgets: batchLoader((ids) => readBudgetsOf(db, ids)),
    budgetWorkspaces: batchLoader(async (ids) =>
      inOrder(ids, await db.prisma.workspace.findMany({ where: { id: { in: [...ids] } } })),
    ),
    budgetAgents: batchLoader(async (ids) =>
      inOrder(ids, await db.prisma.agent.findMany({ where: { id: { in: [...ids] } } })),
    ),
  }
}

function inOrder<Row extends { id: string }>(ids: readonly string[], rows: readonly Row[]): Row[] {
  const byId = new Map(rows.map((row) => [row.id, row]))
  return ids.map((id) => {
    const row = byId.get(id)
    if (row === undefined) throw new Error(`a budget is of ${id}, which does not exist`)
    return row
  })
}
