import type { Task } from '../../generated/prisma/client.ts'
import { builder } from '../../graphql/builder.ts'
import { parsePageArguments } from '../../lib/keyset-page.ts'
import { requireViewer } from '../accounts/viewer.ts'
import { agentLimits } from '../agents/agent-limits.ts'
import { AgentRef } from '../agents/agent.graphql.ts'
import { taskLimits } from './new-task.ts'
import { TaskConnection } from './task-connection.graphql.ts'
import { DependencyFailurePolicyRef, TaskRef } from './task.graphql.ts'

builder.prismaObjectFields('Task', (t) => ({
  dependencies: t.field({
    type: [TaskRef],
    description: `The tasks that had to end first, in the order given; at most ${taskLimits.dependencies}.`,
    complexity: { field: 1, multiplier: 20 },
    resolve: ({ id, dependencyCount }, _args, { loaders }) =>
      dependencyCount === 0 ? [] : loaders.taskDependencies.load(id),
  }),
  dependents: t.connection(
    {
      type: TaskRef,
      description: 'The tasks that depend on it, the newest first.',
      extensions: { ownCursor: true },
      resolve: ({ id }, args, { loaders }) => loaders.taskDependents(parsePageArguments(args)).load(id),
    },
    TaskConnection,
  ),
}))

const { priority } = taskLimits

const TaskNodeInput = builder.inputType('TaskNodeInput', {
  description: 'A task of a graph. It names those that it depends on by their keys.',
  fields: (t) => ({
    key: t.string({
      required: true,
      description: `What the others of the graph call it, 1 to ${taskLimits.keyLength} characters; it is not kept.`,
    }),
    agentId: t.globalID({ for: AgentRef, required: true, description: 'Who is to do it.' }),
    prompt: t.string({ required: true, description: 'What is asked, 1 byte to 256 KiB.' }),
    name: t.string({ description: `What people call it, 1 to ${taskLimits.nameLength} characters in one line.` }),
    input: t.field({
      type: 'JSON',
      description: `What is given with the prompt, at most ${taskLimits.inputBytes} bytes.`,
    }),
    priority: t.int({ description: `${priority.min} to ${priority.max}, higher first; default 0.` }),
    runAt: t.field({ type: 'DateTime', description: 'Not before this time; default: at once.' }),
    dependsOn: t.stringList({
      description: `The keys of those that have to end first, at most ${taskLimits.dependencies}.`,
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
  }),
})

const CreateTaskGraphInput = builder.inputType('CreateTaskGraphInput', {
  description: 'Tasks that depend on each other, without a circle; all of their agents are of one workspace.',
  fields: (t) => ({
    tasks: t.field({
      type: [TaskNodeInput],
      required: true,
      description: `The tasks, 1 to ${taskLimits.nodes}.`,
    }),
    idempotencyKey: t.string({
      description:
        'The same key with the same input gives the same tasks, so that it is safe to send again; with another input, CONFLICT. Keys of graphs and of single tasks are apart.',
    }),
  }),
})

const TaskGraphPayload = builder.objectRef<{ tasks: Task[] }>('TaskGraphPayload').implement({
  description: 'The tasks of a graph.',
  fields: (t) => ({
    tasks: t.expose('tasks', { type: [TaskRef], description: 'In the order given; all or nothing.' }),
  }),
})

builder.mutationField('createTaskGraph', (t) =>
  t.field({
    type: TaskGraphPayload,
    description: 'Submits tasks that depend on each other, all of them or none. When the answer comes they are stored.',
    args: { input: t.arg({ type: CreateTaskGraphInput, required: true, description: 'What is to be done.' }) },
    resolve: async (_root, { input }, { viewer, services }) => {
      const tasks = input.tasks.map((task) => ({ ...task, agentId: task.agentId.id }))
      return { tasks: await services.taskGraphs.create(requireViewer(viewer), { ...input, tasks }) }
    },
  }),
)
