import type { Workspace, WorkspaceMember } from '../../generated/prisma/client.ts'
import { builder } from '../../graphql/builder.ts'
import { inOrder } from '../../graphql/in-order.ts'
import { feedCursor } from '../tasks/streams/task-cursor.ts'
import { UsageRef } from '../usage/usage.graphql.ts'
import { feedHeadsFirst } from './feed-order.graphql.ts'
import { workspacesOf } from './visible-workspaces.ts'
import type { WorkspaceStats } from './workspace-stats.ts'

export const WorkspaceRoleRef = builder.enumType('WorkspaceRole', {
  description: 'What somebody may do in a workspace.',
  values: {
    OWNER: { description: 'Everything, its members included.' },
    MEMBER: { description: 'Agents and tasks.' },
    VIEWER: { description: 'Only look.' },
  } as const,
})

type IdentifiedStats = WorkspaceStats & { workspaceId: string }

const WorkspaceStatsRef = builder.objectRef<IdentifiedStats>('WorkspaceStats').implement({
  description: 'What the tasks of a workspace are doing. Days begin at midnight UTC.',
  fields: (t) => ({
    blocked: t.exposeInt('blocked', { description: 'Tasks that wait for other tasks.' }),
    scheduled: t.exposeInt('scheduled', { description: 'Tasks that wait for their time.' }),
    queued: t.exposeInt('queued', { description: 'Tasks that wait for a free place.' }),
    running: t.exposeInt('running', { description: 'Tasks that run.' }),
    succeededToday: t.exposeInt('succeededToday', { description: 'Tasks that succeeded today.' }),
    failedToday: t.exposeInt('failedToday', { description: 'Tasks that failed today.' }),
    oldestQueuedAt: t.expose('oldestQueuedAt', {
      type: 'DateTime',
      nullable: true,
      description: 'Since when the task that is queued longest has been; null when none is.',
    }),
    usageToday: t.field({
      type: UsageRef,
      description: 'What its model calls have used today.',
      resolve: ({ workspaceId }, _args, { loaders }) => loaders.workspaceUsageToday.load(workspaceId),
    }),
  }),
})

export const WorkspaceRef = builder.prismaObject('Workspace', {
  description: 'A room for agents and tasks, and the people who share it. Everybody has a personal one.',
  fields: (t) => ({
    name: t.exposeString('name', { description: 'Its name.' }),
    personal: t.boolean({
      description: 'Whether it is the one that somebody got at sign-up.',
      resolve: ({ personalOfId }) => personalOfId !== null,
    }),
    createdAt: t.expose('createdAt', { type: 'DateTime', description: 'When it was made.' }),
    feedCursor: t.string({
      description:
        'Where the workspace’s feed is, read before all lists of the document: subscribe to workspaceFeed after it, and nothing is missed.',
      resolve: async ({ id }, _args, { loaders }) => feedCursor(id, await loaders.feedHeads.seq(id)),
    }),
    members: t.relation('members', {
      description: 'Who shares it, by the time they came.',
      query: { orderBy: [{ createdAt: 'asc' }, { id: 'asc' }] },
    }),
    stats: t.field({
      type: WorkspaceStatsRef,
      description: 'What its tasks are doing.',
      resolve: async ({ id }, _args, context, info) => {
        await feedHeadsFirst(context, info)
        return { workspaceId: id, ...(await context.loaders.workspaceStats.load(id)) }
      },
    }),
  }),
})

builder.nodeRef(WorkspaceRef, {
  id: { resolve: ({ id }: Workspace) => id },
  loadManyWithoutCache: async (ids: string[], { viewer, services }) => {
    if (viewer === null) return ids.map(() => null)
    const where = { AND: [{ id: { in: ids } }, workspacesOf(viewer)] }
    return inOrder(ids, await services.db.prisma.workspace.findMany({ where }))
  },
})

export const WorkspaceMemberRef = builder.prismaObject('WorkspaceMember', {
  description: 'Somebody in a workspace.',
  fields: (t) => ({
    user: t.relation('user', { description: 'Who.' }),
    workspace: t.relation('workspace', { description: 'Where.' }),
    role: t.expose('role', { type: WorkspaceRoleRef, description: 'What they may do there.' }),
  }),
})

builder.nodeRef(WorkspaceMemberRef, {
  id: { resolve: ({ id }: WorkspaceMember) => id },
  loadManyWithoutCache: async (ids: string[], { viewer, services }) => {
    if (viewer === null) return ids.map(() => null)
    const where = { id: { in: ids }, workspace: workspacesOf(viewer) }
    return inOrder(ids, await services.db.prisma.workspaceMember.findMany({ where }))
  },
})
