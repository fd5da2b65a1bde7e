import { z } from 'zod'
import { BudgetPeriod } from '../../generated/prisma/enums.ts'
import type { Clock } from '../../lib/clock.ts'
import { NotFoundError } from '../../lib/errors.ts'
import type { NewId } from '../../lib/ids.ts'
import { parseInput } from '../../lib/parse-input.ts'
import type { Database, Transaction } from '../../platform/database/database.ts'
import type { Viewer } from '../accounts/viewer.ts'
import { recordAudit, type AuditAction } from '../audit/audit.ts'
import { unknownOrigin, type RequestOrigin } from '../audit/request-origin.ts'
import type { WorkspaceAccess } from '../workspaces/access.ts'
import { workspacesOf } from '../workspaces/visible-workspaces.ts'
import type { BudgetKnowledge } from './budget-knowledge.ts'
import { readBudgets, type Budget } from './budget-rows.ts'

/**
 * Limits of what workspaces and agents may spend. Both methods are for owners: they throw NotFoundError for what does not exist or is not the
 * viewer's, and ForbiddenError. Tasks that wait for the budget go on.
 */
export interface Budgets {
  /**
   * Makes the budget of a workspace, or of one agent, for a period, or changes it. A new one begins with what the ledger has of the present
   * period; when this resolves, no call begins without it. Throws BadUserInputError.
   */
  set(viewer: Viewer, input: BudgetInput, origin?: RequestOrigin): Promise<Budget>
  /** Returns what it was. */
  delete(viewer: Viewer, budgetId: string, origin?: RequestOrigin): Promise<Budget>
}

export type BudgetInput = {
  workspaceId: string
  agentId?: string | null | undefined
  period: BudgetPeriod
  limitUsd: number
  hard?: boolean | null | undefined
}

export type BudgetsDeps = {
  db: Database
  clock: Clock
  newId: NewId
  access: WorkspaceAccess
  knowledge: BudgetKnowledge
  /** Told when tasks may have become due. */
  onTasksDue: () => void
}

/** In nano-dollars it is still exact as a number. */
export const maxLimitUsd = 9_000_000
const nanoUsdPerUsd = 1e9

const budgetInput = z.object({
  period: z.enum(BudgetPeriod),
  limitUsd: z.number().min(0, 'must not be negative').max(maxLimitUsd, `must be at most ${maxLimitUsd}`),
  hard: z
    .boolean()
    .nullish()
    .transform((hard) => hard ?? true),
})

export function createBudgets({ db, clock, newId, access, knowledge, onTasksDue }: BudgetsDeps): Budgets {
  type Act = {
    action: AuditAction
    viewer: Viewer
    origin: RequestOrigin
    budget: Omit<Budget, 'spentNanoUsd' | 'reservedNanoUsd'>
  }

  async function audit(tx: Transaction, { action, viewer, origin, budget }: Act): Promise<void> {
    const { id, workspaceId, agentId, period, limitNanoUsd, hard } = budget
    await recordAudit(tx, {
      id: newId(),
      at: clock.now(),
      action,
      actorId: viewer.userId,
      workspaceId,
      target: id,
      details: { agentId, period, limitUsd: limitNanoUsd / nanoUsdPerUsd, hard },
      ...origin,
    })
  }

  async function readOne(id: string): Promise<Budget> {
    const [budget] = await readBudgets(db, [id])
    if (budget === undefined) throw new NotFoundError('budget')
    return budget
  }

  return {
    async set(viewer, { workspaceId, agentId = null, ...rest }, origin = unknownOrigin) {
      const { period, limitUsd, hard } = parseInput(budgetInput, rest)
      await access.require(viewer, workspaceId, 'OWNER')
      if (agentId !== null && (await db.prisma.agent.findFirst({ where: { id: agentId, workspaceId } })) === null)
        throw new NotFoundError('agent')
      const limitNanoUsd = Math.round(limitUsd * nanoUsdPerUsd)
      const newBudgetId = newId()
      const id = await db.transaction(async (tx) => {
        const [row] = await tx.$queryRaw<{ id: string }[]>`
          SELECT budget_set(${newBudgetId}::uuid, ${workspaceId}::uuid, ${agentId}::uuid, ${period}::budget_period,
                            ${BigInt(limitNanoUsd)}::bigint, ${hard}) AS id`
        if (row === undefined) throw new Error('budget_set returned no row')
        const budget = { id: row.id, workspaceId, agentId, period, limitNanoUsd, hard }
        await audit(tx, { action: 'budget.set', viewer, origin, budget })
        return row.id
      })
      onTasksDue()
      if (id === newBudgetId) await knowledge.spread(workspaceId)
      return readOne(id)
    },

    async delete(viewer, budgetId, origin = unknownOrigin) {
      const found = await db.prisma.budget.findFirst({ where: { id: budgetId, workspace: workspacesOf(viewer) } })
      if (found === null) throw new NotFoundError('budget')
      await access.require(viewer, found.workspaceId, 'OWNER')
      const budget = await readOne(budgetId)
      await db.transaction(async (tx) => {
        const { count } = await tx.budget.deleteMany({ where: { id: budgetId } })
        if (count === 0) throw new NotFoundError('budget')
        await tx.$queryRaw`SELECT budget_resolve_alerts(${budgetId}::uuid, -1, 1)::text, budget_wake_tasks(${budget.workspaceId}::uuid, ${budget.agentId}::uuid)`
        await audit(tx, { action: 'budget.deleted', viewer, origin, budget })
      })
      onTasksDue()
      return budget
    },
  }
}
