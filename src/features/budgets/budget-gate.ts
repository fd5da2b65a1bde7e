import { admitted, type AttemptGate, type Refusal } from '../../ai/admission.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Logger } from '../../platform/logger.ts'
import type { BudgetKnowledge } from './budget-knowledge.ts'
import type { BudgetRefusal, BudgetStore } from './budget-store.ts'

/** What is sent as the maximum of output tokens under a hard budget when a request has none: without it the cost would have no bound. */
export const defaultMaxOutputTokens = 8_192

/** How long after the deadline of a call its reservations still hold: for the ledger to be written. */
export const settleGraceMs = 60_000

export type BudgetGateDeps = {
  store: BudgetStore
  knowledge: BudgetKnowledge
  clock: Clock
  logger: Logger
}

/**
 * Reserves what a call of a model may cost at the most before it is made, and settles it by what it has cost. A hard budget that it does not
 * fit into refuses it, and so it does a model whose price is not known.
 *
 * Settling is repeated by the ledger (record_model_calls), so what fails here is not lost; and what nobody settles expires.
 */
export function createBudgetGate({ store, knowledge, clock, logger }: BudgetGateDeps): AttemptGate {
  /** Attempts with a reservation. */
  const held = new Set<string>()

  return {
    async admit({ id, scopes, size, deadlineMs }) {
      const workspaceId = scopes.find(({ kind }) => kind === 'workspace')?.id
      const agentId = scopes.find(({ kind }) => kind === 'agent')?.id ?? null
      if (workspaceId === undefined || !(await knowledge.mayApply(workspaceId, agentId))) return admitted
      const reservation = await store.reserve({
        attemptId: id,
        workspaceId,
        agentId,
        amountNanoUsd: size.maxCostNanoUsd(defaultMaxOutputTokens),
        ttlMs: Math.max(0, deadlineMs - clock.monotonicMs()) + settleGraceMs,
      })
      switch (reservation.outcome) {
        case 'none':
          return admitted
        case 'refused':
          return { kind: 'refused', refusal: refusalOf(reservation) }
        case 'reserved':
          held.add(id)
          return reservation.hard && size.maxOutputTokens === null
            ? { kind: 'admitted', maxOutputTokens: defaultMaxOutputTokens }
            : admitted
      }
    },

    async settle({ id }, end) {
      if (!held.delete(id)) return
      const costNanoUsd = end.kind === 'ended' ? (end.record.usage?.costNanoUsd ?? 0n) : 0n
      try {
        const alerts = await store.settle(id, costNanoUsd)
        for (const alert of alerts) logger.warn(alert, 'a budget has passed a threshold')
      } catch (error) {
        logger.warn({ err: error, attemptId: id }, 'a budget could not be settled; the ledger will do it')
      }
    },
  }
}

function refusalOf(refusal: BudgetRefusal): Refusal {
  return { class: 'budget', outcome: 'budget_exceeded', message: explain(refusal), retryAfterMs: refusal.freesInMs }
}

const periodNames = { DAY: 'daily', MONTH: 'monthly', TOTAL: 'total' } as const

function explain({ why, period, limitNanoUsd, spentNanoUsd }: BudgetRefusal): string {
  const budget = `the ${periodNames[period]} budget of ${usd(limitNanoUsd)}`
  switch (why) {
    case 'price_unknown':
      return `The price of this model is not known, so it cannot be asked under ${budget}`
    case 'too_large':
      return `This call may cost more than ${budget} as a whole`
    case 'spent':
      return `The budget is exhausted: ${usd(spentNanoUsd)} of ${budget} are spent, and this call may cost more than what is left`
    case 'reserved':
      return `The budget is exhausted for now: what is left of ${budget} is reserved by calls that are under way`
  }
}

function usd(nanoUsd: number): string {
  return `$${(nanoUsd / 1e9).toFixed(2)}`
}
