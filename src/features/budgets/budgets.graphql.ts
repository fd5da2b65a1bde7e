import { builder } from '../../graphql/builder.ts'
import { inOrder } from '../../graphql/in-order.ts'
import { originOf } from '../../graphql/origin-of.ts'
import { requireViewer } from '../accounts/viewer.ts'
import { AgentRef } from '../agents/agent.graphql.ts'
import { visibleBudgetIds } from './visible-budgets.ts'
import { WorkspaceRef } from '../workspaces/workspace.graphql.ts'
import { readBudgets, type Budget } from './budget-rows.ts'
import { maxLimitUsd } from './budgets.ts'

const BudgetPeriod = builder.enumType('BudgetPeriod', {
  description: 'For how long a budget’s limit is. Periods begin at midnight UTC.',
  values: {
    DAY: { description: 'A day.' },
    MONTH: { description: 'A month of the calendar.' },
    TOTAL: { description: 'For ever.' },
  } as const,
})

const usd = (nanoUsd: number): number => nanoUsd / 1e9

const BudgetRef = builder.objectRef<Budget>('Budget').implement({
  description:
    'A limit of what a workspace or one agent may spend. What a call may cost at the most is reserved before it is made, so calls made at once never overshoot it together.',
  fields: (t) => ({
    workspace: t.field({
      type: WorkspaceRef,
      description: 'Whose money it is.',
      resolve: ({ workspaceId }, _args, { loaders }) => loaders.budgetWorkspaces.load(workspaceId),
    }),
    agent: t.field({
      type: AgentRef,
      nullable: true,
      description: 'The agent that it limits; null: the whole workspace.',
      resolve: ({ agentId }, _args, { loaders }) => (agentId === null ? null : loaders.budgetAgents.load(agentId)),
    }),
    period: t.expose('period', { type: BudgetPeriod, description: 'For how long the limit is.' }),
    limitUsd: t.float({
      description: 'What may be spent in a period, in US dollars.',
      resolve: ({ limitNanoUsd }) => usd(limitNanoUsd),
    }),
    spentUsd: t.float({
      description: 'What was spent in the present period.',
      resolve: ({ spentNanoUsd }) => usd(spentNanoUsd),
    }),
    reservedUsd: t.float({
      description: 'What calls that are under way may cost at the most.',
      resolve: ({ reservedNanoUsd }) => usd(reservedNanoUsd),
    }),
    hard: t.exposeBoolean('hard', {
      description:
        'Whether calls that do not fit are refused (BUDGET_EXCEEDED), those of models without a known price too; else it only alerts, at 50, 80 and 100 %.',
    }),
  }),
})

builder.nodeRef(BudgetRef, {
  id: { resolve: ({ id }: Budget) => id },
  loadManyWithoutCache: async (ids: string[], { viewer, services }) => {
    if (viewer === null) return ids.map(() => null)
    return inOrder(ids, await readBudgets(services.db, await visibleBudgetIds(services.db, ids, viewer)))
  },
})

builder.objectField(WorkspaceRef, 'budgets', (t) =>
  t.field({
    type: [BudgetRef],
    description: 'Its budgets and those of its agents.',
    resolve: ({ id }, _args, { loaders }) => loaders.workspaceBudgets.load(id),
  }),
)

const SetBudgetInput = builder.inputType('SetBudgetInput', {
  description: 'A budget; there is one for each workspace or agent and period.',
  fields: (t) => ({
    workspaceId: t.globalID({ for: WorkspaceRef, required: true, description: 'Whose money it is.' }),
    agentId: t.globalID({ for: AgentRef, description: 'The agent to limit; default: the whole workspace.' }),
    period: t.field({ type: BudgetPeriod, required: true, description: 'For how long the limit is.' }),
    limitUsd: t.float({
      required: true,
      description: `What may be spent in a period, in US dollars: 0 to ${maxLimitUsd}.`,
    }),
    hard: t.boolean({ defaultValue: true, description: 'Whether calls that do not fit are refused.' }),
  }),
})

const DeleteBudgetInput = builder.inputType('DeleteBudgetInput', {
  description: 'A budget to be deleted.',
  fields: (t) => ({ id: t.globalID({ for: BudgetRef, required: true, description: 'Which budget.' }) }),
})

const BudgetPayload = builder.objectRef<{ budget: Budget }>('BudgetPayload').implement({
  description: 'A budget that was changed or deleted.',
  fields: (t) => ({ budget: t.expose('budget', { type: BudgetRef, description: 'As it is now, or was.' }) }),
})

builder.mutationFields((t) => ({
  setBudget: t.field({
    type: BudgetPayload,
    description:
      'Makes a budget or changes it, for owners. A new one begins with what was spent in the present period; once this has answered, no call begins without it.',
    args: { input: t.arg({ type: SetBudgetInput, required: true, description: 'The budget.' }) },
    resolve: async (_root, { input }, context) => {
      const fields = { ...input, workspaceId: input.workspaceId.id, agentId: input.agentId?.id ?? null }
      return { budget: await context.services.budgets.set(requireViewer(context.viewer), fields, originOf(context)) }
    },
  }),
  deleteBudget: t.field({
    type: BudgetPayload,
    description: 'Deletes a budget, for owners. What waited for it goes on.',
    args: { input: t.arg({ type: DeleteBudgetInput, required: true, description: 'Which budget.' }) },
    resolve: async (_root, { input }, context) => ({
      budget: await context.services.budgets.delete(requireViewer(context.viewer), input.id.id, originOf(context)),
    }),
  }),
}))
