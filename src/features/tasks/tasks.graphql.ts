import { builder } from '../../graphql/builder.ts'
import { originOf } from '../../graphql/origin-of.ts'
import { requireViewer } from '../accounts/viewer.ts'
import { agentLimits } from '../agents/agent-limits.ts'
import { AgentRef } from '../agents/agent.graphql.ts'
import { workspacesOf } from '../workspaces/visible-workspaces.ts'
import { taskLimits } from './new-task.ts'
import { TaskPayload } from './task-payload.graphql.ts'
import { DependencyFailurePolicyRef, TaskRef } from './task.graphql.ts'

builder.queryField('task', (t) =>
  t.prismaField({
    type: TaskRef,
    nullable: true,
    description: 'A task; null when it does not exist or is not yours.',
    args: { id: t.arg.globalID({ for: TaskRef, required: true, description: 'Which task.' }) },
    resolve: (query, _root, { id }, { viewer, services }) => {
      const where = { id: id.id, workspace: workspacesOf(requireViewer(viewer)) }
      return services.db.prisma.task.findFirst({ ...query, where })
    },
  }),
)

const { priority } = taskLimits

export const CreateTaskInput = builder.inputType('CreateTaskInput', {
  description: 'A new task.',
  fields: (t) => ({
    agentId: t.globalID({
      for: AgentRef,
      required: true,
      description: 'Who is to do it; the task goes to its workspace.',
    }),
    prompt: t.string({ required: true, description: 'What is asked, 1 byte to 256 KiB.' }),
    name: t.string({ description: `What people call it, 1 to ${taskLimits.nameLength} characters in one line.` }),
    input: t.field({
      type: 'JSON',
      description: `What is given with the prompt, at most ${taskLimits.inputBytes} bytes.`,
    }),
    priority: t.int({ description: `${priority.min} to ${priority.max}, higher first; default 0.` }),
    runAt: t.field({ type: 'DateTime', description: 'Not before this time; default: at once.' }),
    dependsOn: t.globalIDList({
      for: TaskRef,
      description: `Tasks of the same workspace that have to end first, at most ${taskLimits.dependencies}; one that has ended counts at once.`,
    }),
    onDependencyFailure: t.field({
      type: DependencyFailurePolicyRef,
      description: 'What becomes of it when one of them does not succeed; default: SKIP.',
    }),
    maxAttempts: t.int({
      description: `How often it is tried in all, 1 to ${agentLimits.maxAttempts.max}; default: the agent’s.`,
    }),
    timeoutMs: t.int({
      description: `How long one attempt may take, ${agentLimits.timeoutMs.min} to ${agentLimits.timeoutMs.max} ms; default: the agent’s.`,
    }),
    idempotencyKey: t.string({
      description:
        'The same key with the same input gives the same task, so that it is safe to send again; with another input, CONFLICT.',
    }),
  }),
})

const CancelTaskInput = builder.inputType('CancelTaskInput', {
  description: 'Which task to stop, and why.',
  fields: (t) => ({
    id: t.globalID({ for: TaskRef, required: true, description: 'Which task.' }),
    reason: t.string({ description: `Why, at most ${taskLimits.reasonLength} characters.` }),
  }),
})

builder.mutationFields((t) => ({
  createTask: t.field({
    type: TaskPayload,
    description: 'Submits a task. When the answer comes it is stored, and it will run.',
    args: { input: t.arg({ type: CreateTaskInput, required: true, description: 'What is to be done.' }) },
    resolve: async (_root, { input }, { viewer, services }) => {
      const rowIds = { agentId: input.agentId.id, dependsOn: input.dependsOn?.map(({ id }) => id) }
      return { task: await services.tasks.create(requireViewer(viewer), { ...input, ...rowIds }) }
    },
  }),
  cancelTask: t.field({
    type: TaskPayload,
    description:
      'Stops a task: at once when it does not run, within seconds when it does. A task that has ended stays as it is.',
    args: { input: t.arg({ type: CancelTaskInput, required: true, description: 'Which task.' }) },
    resolve: async (_root, { input }, context) => {
      const { id, reason } = input
      const viewer = requireViewer(context.viewer)
      return { task: await context.services.tasks.cancel(viewer, { id: id.id, reason }, originOf(context)) }
    },
  }),
}))
