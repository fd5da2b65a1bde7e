import type { GraphQLResolveInfo } from 'graphql'
import { builder } from '../../graphql/builder.ts'
import type { GraphQLContext } from '../../graphql/context.ts'
import { parsePageArguments, type PageArguments } from '../../lib/keyset-page.ts'
import { requireViewer } from '../accounts/viewer.ts'
import { AgentRef } from '../agents/agent.graphql.ts'
import { feedHeadsFirst } from '../workspaces/feed-order.graphql.ts'
import { WorkspaceRef } from '../workspaces/workspace.graphql.ts'
import { TaskConnection } from './task-connection.graphql.ts'
import { maxSearchLength, parseTaskFilter, type TaskFilterInput } from './task-filter.ts'
import { TaskRef, TaskStatusRef } from './task.graphql.ts'

export const TaskFilter = builder.inputType('TaskFilter', {
  description: 'Which tasks: those that meet all that is given.',
  fields: (t) => ({
    status: t.field({ type: [TaskStatusRef], description: 'In one of these statuses; an empty list matches none.' }),
    agentId: t.globalID({ for: AgentRef, description: 'Of this agent.' }),
    createdAfter: t.field({ type: 'DateTime', description: 'Submitted at this time or later.' }),
    createdBefore: t.field({ type: 'DateTime', description: 'Submitted before this time.' }),
    search: t.string({
      description: `With this text in the name or the prompt, whatever its case; at most ${maxSearchLength} characters.`,
    }),
  }),
})

type GivenFilter = Omit<TaskFilterInput, 'agentId'> & { agentId?: { id: string } | null | undefined }
type TaskPageSource = {
  owner: 'workspace' | 'agent'
  ownerId: string
  args: PageArguments & { filter?: GivenFilter | null | undefined }
}

async function taskPage({ owner, ownerId, args }: TaskPageSource, context: GraphQLContext, info: GraphQLResolveInfo) {
  const filter = parseTaskFilter({ ...args.filter, agentId: args.filter?.agentId?.id })
  const request = parsePageArguments(args)
  await feedHeadsFirst(context, info)
  return context.loaders.taskPages({ owner, filter, request }).load(ownerId)
}

builder.prismaObjectField('Workspace', 'tasks', (t) =>
  t.connection(
    {
      type: TaskRef,
      description: 'Its tasks, the newest first.',
      extensions: { ownCursor: true },
      args: { filter: t.arg({ type: TaskFilter, description: 'Which tasks; default: all.' }) },
      resolve: ({ id }, args, context, info) => taskPage({ owner: 'workspace', ownerId: id, args }, context, info),
    },
    TaskConnection,
  ),
)

builder.prismaObjectField('Agent', 'tasks', (t) =>
  t.connection(
    {
      type: TaskRef,
      description: 'Its tasks, the newest first.',
      extensions: { ownCursor: true },
      args: { filter: t.arg({ type: TaskFilter, description: 'Which tasks; default: all.' }) },
      resolve: ({ id }, args, context, info) => taskPage({ owner: 'agent', ownerId: id, args }, context, info),
    },
    TaskConnection,
  ),
)

builder.queryField('tasks', (t) =>
  t.connection(
    {
      type: TaskRef,
      description: 'The tasks of a workspace, the newest first.',
      extensions: { ownCursor: true },
      args: {
        workspaceId: t.arg.globalID({ for: WorkspaceRef, description: 'Default: your personal workspace.' }),
        filter: t.arg({ type: TaskFilter, description: 'Which tasks; default: all.' }),
      },
      resolve: async (_root, { workspaceId, ...args }, context, info) => {
        const { access } = context.services.workspaces
        const ownerId = await access.readableWorkspaceId(requireViewer(context.viewer), workspaceId?.id)
        return taskPage({ owner: 'workspace', ownerId, args }, context, info)
      },
    },
    TaskConnection,
  ),
)
