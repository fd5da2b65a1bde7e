import type { Agent } from '../../generated/prisma/client.ts'
import { builder } from '../../graphql/builder.ts'
import { inOrder } from '../../graphql/in-order.ts'
import { UsageRef } from '../usage/usage.graphql.ts'
import { feedHeadsFirst } from '../workspaces/feed-order.graphql.ts'
import { workspacesOf } from '../workspaces/visible-workspaces.ts'
import { recentTasks, type AgentStats } from './agent-stats.ts'

const AgentStatusRef = builder.enumType('AgentStatus', {
  description: 'Whether an agent runs tasks.',
  values: {
    ACTIVE: { description: 'It runs tasks.' },
    PAUSED: { description: 'Its tasks wait; what was running goes on.' },
    ARCHIVED: { description: 'For good: it takes no tasks, and cannot be changed.' },
  } as const,
})

export const CrashPolicyRef = builder.enumType('CrashPolicy', {
  description: 'What happens to a task whose process has died.',
  values: {
    RETRY: { description: 'It runs again, while it has attempts left.' },
    FAIL: { description: 'It fails.' },
  } as const,
})

const RetryPolicyRef = builder.objectRef<Agent>('RetryPolicy').implement({
  description: 'How often and when a task is tried again after an error that may go away.',
  fields: (t) => ({
    maxAttempts: t.exposeInt('maxAttempts', { description: 'How often a task is tried in all.' }),
    initialDelayMs: t.exposeInt('retryInitialDelayMs', {
      description: 'The longest wait before the second attempt, in milliseconds; it doubles with each.',
    }),
    maxDelayMs: t.exposeInt('retryMaxDelayMs', { description: 'The longest wait of all, in milliseconds.' }),
  }),
})

const RateLimitRef = builder.objectRef<Agent>('RateLimit').implement({
  description:
    'How much the model calls of an agent may be in a minute. Tasks that are over it wait, and use no attempt.',
  fields: (t) => ({
    requestsPerMinute: t.exposeInt('requestsPerMinute', { nullable: true, description: 'Calls; null: no limit.' }),
    tokensPerMinute: t.exposeInt('tokensPerMinute', {
      nullable: true,
      description: 'Tokens of input and output; null: no limit.',
    }),
  }),
})

const AgentStatsRef = builder.objectRef<AgentStats & { agentId: string }>('AgentStats').implement({
  description: 'What the tasks of an agent are doing.',
  fields: (t) => ({
    queued: t.exposeInt('queued', { description: 'Tasks that wait for a free place.' }),
    running: t.exposeInt('running', { description: 'Tasks that run.' }),
    succeeded: t.exposeInt('succeeded', { description: 'Tasks that have succeeded.' }),
    failed: t.exposeInt('failed', { description: 'Tasks that have failed.' }),
    usage: t.field({
      type: UsageRef,
      description: 'What its model calls have used in all.',
      resolve: ({ agentId }, _args, { loaders }) => loaders.agentUsage.load(agentId),
    }),
    averageDurationMs: t.exposeFloat('averageDurationMs', {
      nullable: true,
      description: `From the last start to the end, in milliseconds, over its ${recentTasks} newest tasks that succeeded.`,
    }),
    lastActiveAt: t.expose('lastActiveAt', {
      type: 'DateTime',
      nullable: true,
      description: `When one of its ${recentTasks} newest tasks of each status last started or ended.`,
    }),
  }),
})

export const AgentRef = builder.prismaObject('Agent', {
  description: 'Instructions and models that tasks are run with, and the limits that hold for them.',
  fields: (t) => ({
    workspace: t.relation('workspace', { description: 'Where it belongs.' }),
    name: t.exposeString('name', { description: 'Its name.' }),
    description: t.exposeString('description', { nullable: true, description: 'What it is for.' }),
    instructions: t.exposeString('instructions', { description: 'What every model call begins with.' }),
    models: t.exposeStringList('models', {
      description: '"provider/model" names or aliases, tried in this order; none: the server’s default.',
    }),
    temperature: t.exposeFloat('temperature', { nullable: true, description: 'Null: the model’s own.' }),
    maxOutputTokens: t.exposeInt('maxOutputTokens', { nullable: true, description: 'The longest answer, in tokens.' }),
    outputSchema: t.expose('outputSchema', {
      type: 'JSON',
      nullable: true,
      description: 'The JSON Schema that answers are held to; null: any text.',
    }),
    concurrency: t.exposeInt('concurrency', { description: 'How many of its tasks may run at once.' }),
    rateLimit: t.field({
      type: RateLimitRef,
      description: 'How much its model calls may be in a minute, all together.',
      resolve: (agent) => agent,
    }),
    retryPolicy: t.field({
      type: RetryPolicyRef,
      description: 'How often and when its tasks are tried again.',
      resolve: (agent) => agent,
    }),
    timeoutMs: t.exposeInt('timeoutMs', { description: 'How long one attempt of a task may take, in milliseconds.' }),
    crashPolicy: t.expose('crashPolicy', {
      type: CrashPolicyRef,
      description: 'What happens to its tasks when the process that runs them dies.',
    }),
    status: t.expose('status', { type: AgentStatusRef, description: 'Whether it runs tasks.' }),
    state: t.expose('state', { type: 'JSON', description: 'A JSON object that is kept between runs.' }),
    stateVersion: t.exposeInt('stateVersion', { description: 'Rises with every write of the state.' }),
    version: t.exposeInt('version', {
      description: 'Rises when the definition changes; recorded with every attempt.',
    }),
    createdAt: t.expose('createdAt', { type: 'DateTime', description: 'When it was made.' }),
    updatedAt: t.expose('updatedAt', { type: 'DateTime', description: 'When it was last changed.' }),
    stats: t.field({
      type: AgentStatsRef,
      description: 'What its tasks are doing.',
      resolve: async ({ id }, _args, context, info) => {
        await feedHeadsFirst(context, info)
        return { agentId: id, ...(await context.loaders.agentStats.load(id)) }
      },
    }),
  }),
})

builder.nodeRef(AgentRef, {
  id: { resolve: ({ id }: Agent) => id },
  loadManyWithoutCache: async (ids: string[], { viewer, services }) => {
    if (viewer === null) return ids.map(() => null)
    const where = { id: { in: ids }, workspace: workspacesOf(viewer) }
    return inOrder(ids, await services.db.prisma.agent.findMany({ where }))
  },
})
