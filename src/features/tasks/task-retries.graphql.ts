import { builder } from '../../graphql/builder.ts'
import { originOf } from '../../graphql/origin-of.ts'
import { requireViewer } from '../accounts/viewer.ts'
import { WorkspaceRef } from '../workspaces/workspace.graphql.ts'
import { bulkLimit, type BulkTasksResult } from './bulk-tasks.ts'
import { TaskFilter } from './task-lists.graphql.ts'
import { TaskPayload } from './task-payload.graphql.ts'
import { TaskRef } from './task.graphql.ts'

const RetryTaskInput = builder.inputType('RetryTaskInput', {
  description: 'Which task to begin anew.',
  fields: (t) => ({ id: t.globalID({ for: TaskRef, required: true, description: 'Which task.' }) }),
})

const BulkTasksInput = builder.inputType('BulkTasksInput', {
  description: 'Which tasks to change, the oldest first.',
  fields: (t) => ({
    workspaceId: t.globalID({ for: WorkspaceRef, description: 'Default: your personal workspace.' }),
    filter: t.field({ type: TaskFilter, required: true, description: 'Which tasks; {} means all of them.' }),
    limit: t.int({
      defaultValue: bulkLimit.default,
      description: `How many at most in this request, ${bulkLimit.min} to ${bulkLimit.max}.`,
    }),
  }),
})

const BulkTasksPayload = builder.objectRef<BulkTasksResult>('BulkTasksPayload').implement({
  description: 'What became of many tasks.',
  fields: (t) => ({
    count: t.exposeInt('count', { description: 'How many tasks were changed.' }),
    hasMore: t.exposeBoolean('hasMore', { description: 'Whether the filter matches more: send the same again.' }),
  }),
})

builder.mutationFields((t) => ({
  retryTask: t.field({
    type: TaskPayload,
    description:
      'Begins a task anew that is FAILED, CANCELLED or SKIPPED, and with it what was skipped or cancelled because of it.',
    args: { input: t.arg({ type: RetryTaskInput, required: true, description: 'Which task.' }) },
    resolve: async (_root, { input }, context) => {
      const viewer = requireViewer(context.viewer)
      return { task: await context.services.taskRetries.retry(viewer, input.id.id, originOf(context)) }
    },
  }),
  retryTasks: t.field({
    type: BulkTasksPayload,
    description: 'Retries all FAILED, CANCELLED and SKIPPED tasks that a filter matches; counts all that begin anew.',
    args: { input: t.arg({ type: BulkTasksInput, required: true, description: 'Which tasks.' }) },
    resolve: (_root, { input }, context) => {
      const filter = { ...input.filter, agentId: input.filter.agentId?.id }
      const bulk = { ...input, filter, workspaceId: input.workspaceId?.id }
      return context.services.bulkTasks.retry(requireViewer(context.viewer), bulk, originOf(context))
    },
  }),
  cancelTasks: t.field({
    type: BulkTasksPayload,
    description:
      'Cancels all live tasks that a filter matches; counts those, and not the dependents that follow by their policies.',
    args: { input: t.arg({ type: BulkTasksInput, required: true, description: 'Which tasks.' }) },
    resolve: (_root, { input }, context) => {
      const filter = { ...input.filter, agentId: input.filter.agentId?.id }
      const bulk = { ...input, filter, workspaceId: input.workspaceId?.id }
      return context.services.bulkTasks.cancel(requireViewer(context.viewer), bulk, originOf(context))
    },
  }),
}))
