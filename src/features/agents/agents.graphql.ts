import type { GraphQLResolveInfo } from 'graphql'
import type { Agent } from '../../generated/prisma/client.ts'
import { builder } from '../../graphql/builder.ts'
import type { GraphQLContext } from '../../graphql/context.ts'
import { originOf } from '../../graphql/origin-of.ts'
import { parsePageArguments, type PageArguments } from '../../lib/keyset-page.ts'
import { requireViewer } from '../accounts/viewer.ts'
import { feedHeadsFirst } from '../workspaces/feed-order.graphql.ts'
import { workspacesOf } from '../workspaces/visible-workspaces.ts'
import { WorkspaceRef } from '../workspaces/workspace.graphql.ts'
import { AgentInput, CreateAgentInput, UpdateAgentInput } from './agent-inputs.graphql.ts'
import { AgentRef } from './agent.graphql.ts'

const AgentConnection = builder.connectionObject({ type: AgentRef, name: 'AgentConnection' })

type PageSource = { workspaceId: string; args: PageArguments }

async function agentPage({ workspaceId, args }: PageSource, context: GraphQLContext, info: GraphQLResolveInfo) {
  const request = parsePageArguments(args)
  await feedHeadsFirst(context, info)
  return context.loaders.agentPages(request).load(workspaceId)
}

builder.prismaObjectField('Workspace', 'agents', (t) =>
  t.connection(
    {
      type: AgentRef,
      description: 'Its agents, the newest first, archived ones too.',
      extensions: { ownCursor: true },
      resolve: ({ id }, args, context, info) => agentPage({ workspaceId: id, args }, context, info),
    },
    AgentConnection,
  ),
)

builder.queryFields((t) => ({
  agent: t.prismaField({
    type: AgentRef,
    nullable: true,
    description: 'An agent; null when it does not exist or is not yours.',
    args: { id: t.arg.globalID({ for: AgentRef, required: true, description: 'Which agent.' }) },
    resolve: (query, _root, { id }, { viewer, services }) => {
      const where = { id: id.id, workspace: workspacesOf(requireViewer(viewer)) }
      return services.db.prisma.agent.findFirst({ ...query, where })
    },
  }),
  agents: t.connection(
    {
      type: AgentRef,
      description: 'The agents of a workspace, the newest first, archived ones too.',
      extensions: { ownCursor: true },
      args: { workspaceId: t.arg.globalID({ for: WorkspaceRef, description: 'Default: your personal workspace.' }) },
      resolve: async (_root, { workspaceId, ...args }, context, info) => {
        const { access } = context.services.workspaces
        const id = await access.readableWorkspaceId(requireViewer(context.viewer), workspaceId?.id)
        return agentPage({ workspaceId: id, args }, context, info)
      },
    },
    AgentConnection,
  ),
}))

const AgentPayload = builder.objectRef<{ agent: Agent }>('AgentPayload').implement({
  description: 'An agent that was changed.',
  fields: (t) => ({ agent: t.expose('agent', { type: AgentRef, description: 'As it is now.' }) }),
})

builder.mutationFields((t) => ({
  createAgent: t.field({
    type: AgentPayload,
    description: 'Makes an agent.',
    args: { input: t.arg({ type: CreateAgentInput, required: true, description: 'What it is.' }) },
    resolve: async (_root, { input }, context) => {
      const fields = { ...input, workspaceId: input.workspaceId?.id ?? null }
      return { agent: await context.services.agents.create(requireViewer(context.viewer), fields, originOf(context)) }
    },
  }),
  updateAgent: t.field({
    type: AgentPayload,
    description: 'Changes an agent. What runs goes on with the definition that it began with.',
    args: { input: t.arg({ type: UpdateAgentInput, required: true, description: 'What to change.' }) },
    resolve: async (_root, { input }, context) => {
      const fields = { ...input, id: input.id.id }
      return { agent: await context.services.agents.update(requireViewer(context.viewer), fields, originOf(context)) }
    },
  }),
  pauseAgent: t.field({
    type: AgentPayload,
    description: 'Lets its tasks wait; what runs goes on. Does nothing when it is paused.',
    args: { input: t.arg({ type: AgentInput, required: true, description: 'Which agent.' }) },
    resolve: async (_root, { input }, context) => ({
      agent: await context.services.agents.pause(requireViewer(context.viewer), input.id.id, originOf(context)),
    }),
  }),
  resumeAgent: t.field({
    type: AgentPayload,
    description: 'Lets its tasks run again. Does nothing when it is active.',
    args: { input: t.arg({ type: AgentInput, required: true, description: 'Which agent.' }) },
    resolve: async (_root, { input }, context) => ({
      agent: await context.services.agents.resume(requireViewer(context.viewer), input.id.id, originOf(context)),
    }),
  }),
  archiveAgent: t.field({
    type: AgentPayload,
    description:
      'Retires it for good: it takes no tasks, those that wait are cancelled, what runs goes on. Does nothing when it is archived.',
    args: { input: t.arg({ type: AgentInput, required: true, description: 'Which agent.' }) },
    resolve: async (_root, { input }, context) => ({
      agent: await context.services.agents.archive(requireViewer(context.viewer), input.id.id, originOf(context)),
    }),
  }),
}))
