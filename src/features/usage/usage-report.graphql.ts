import { builder } from '../../graphql/builder.ts'
import { UserRef } from '../accounts/accounts.graphql.ts'
import { requireViewer } from '../accounts/viewer.ts'
import { AgentRef } from '../agents/agent.graphql.ts'
import { WorkspaceRef } from '../workspaces/workspace.graphql.ts'
import { UsageRef } from './usage.graphql.ts'
import { maxUsageBuckets, maxUsageDays, maxUsageDaysByHour, type UsageBucket } from './usage-report.ts'

const UsageGroup = builder.enumType('UsageGroup', {
  description: 'What usage can be grouped by.',
  values: {
    MODEL: { description: 'The model that was asked.' },
    AGENT: { description: 'The agent; null for completions.' },
    USER: { description: 'Who submitted the task or asked for the completion.' },
    DAY: { description: 'The day, UTC.' },
    HOUR: { description: 'The hour, UTC; goes before DAY.' },
  } as const,
})

const UsageBucketRef = builder.objectRef<UsageBucket>('UsageBucket').implement({
  description: 'What one group has used. What the report is not grouped by is null.',
  fields: (t) => ({
    model: t.exposeString('model', { nullable: true, description: 'The model: "provider/model".' }),
    agent: t.field({
      type: AgentRef,
      nullable: true,
      description: 'The agent; null for what no agent did.',
      resolve: ({ agentId }, _args, { loaders }) => (agentId === null ? null : loaders.usageAgents.load(agentId)),
    }),
    user: t.field({
      type: UserRef,
      nullable: true,
      description: 'Who; null when they have nothing to do with you any more.',
      resolve: ({ userId }, _args, { loaders }) => (userId === null ? null : loaders.usageUsers.load(userId)),
    }),
    start: t.expose('start', { type: 'DateTime', nullable: true, description: 'When the day or hour begins, UTC.' }),
    requests: t.exposeInt('requests', {
      description: 'How many calls that used something or were answered from the response cache.',
    }),
    usage: t.expose('usage', { type: UsageRef, description: 'What they used.' }),
  }),
})

builder.queryField('usage', (t) =>
  t.field({
    type: [UsageBucketRef],
    description: `What a workspace has used, from the ledger of every call, in the order of time; without groups one sum. At most ${maxUsageBuckets} groups, ${maxUsageDays} days, ${maxUsageDaysByHour} days by HOUR.`,
    args: {
      workspaceId: t.arg.globalID({ for: WorkspaceRef, description: 'Default: your personal workspace.' }),
      from: t.arg({ type: 'DateTime', required: true, description: 'From when on.' }),
      to: t.arg({ type: 'DateTime', required: true, description: 'Until when, not included.' }),
      groupBy: t.arg({ type: [UsageGroup], description: 'What to group by, in any combination.' }),
    },
    resolve: (_root, { workspaceId, from, to, groupBy }, { viewer, services }) =>
      services.usageReports.read(requireViewer(viewer), {
        workspaceId: workspaceId?.id ?? null,
        from,
        to,
        groupBy: groupBy ?? [],
      }),
  }),
)
