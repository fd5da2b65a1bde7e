import { encodeGlobalID } from '@pothos/plugin-relay'
import type { Prisma, Schedule } from '../../generated/prisma/client.ts'
import { builder } from '../../graphql/builder.ts'
import { inOrder } from '../../graphql/in-order.ts'
import { TaskRef } from '../tasks/task.graphql.ts'
import { workspacesOf } from '../workspaces/visible-workspaces.ts'

export const ScheduleRef = builder.prismaObject('Schedule', {
  description:
    'Makes a task at every time that a cron expression names, exactly one, however many processes there are. Times that pass while no process is there are made up for by one task, for the latest of them.',
  fields: (t) => ({
    workspace: t.relation('workspace', { description: 'Where it belongs.' }),
    agent: t.relation('agent', { description: 'Whose tasks it makes.' }),
    name: t.exposeString('name', {
      description: 'Its name; its tasks have it, too, unless the template says otherwise.',
    }),
    cron: t.exposeString('cron', { description: 'Minute, hour, day of month, month, day of week.' }),
    timeZone: t.exposeString('timeZone', { description: 'The IANA time zone whose clocks `cron` means.' }),
    paused: t.exposeBoolean('paused', { description: 'Whether it makes no tasks.' }),
    pausedReason: t.exposeString('pausedReason', {
      nullable: true,
      description: 'In words: why the server has paused it; null when a person did, and while it is not paused.',
    }),
    template: t.field({
      type: 'JSON',
      description: 'What each task is made of: what was given as `task`.',
      resolve: ({ agentId, template }) => ({ agentId: encodeGlobalID('Agent', agentId), ...objectOf(template) }),
    }),
    nextRunAt: t.expose('nextRunAt', {
      type: 'DateTime',
      nullable: true,
      description: 'When it makes its next task; null while it is paused.',
    }),
    lastTask: t.field({
      type: TaskRef,
      nullable: true,
      description: 'The task of its latest due time.',
      resolve: ({ id }, _args, { loaders }) => loaders.lastTask.load(id),
    }),
    createdAt: t.expose('createdAt', { type: 'DateTime', description: 'When it was made.' }),
    updatedAt: t.expose('updatedAt', { type: 'DateTime', description: 'When it last changed or made a task.' }),
  }),
})

builder.nodeRef(ScheduleRef, {
  id: { resolve: ({ id }: Schedule) => id },
  loadManyWithoutCache: async (ids: string[], { viewer, services }) => {
    if (viewer === null) return ids.map(() => null)
    const where = { id: { in: ids }, deletedAt: null, workspace: workspacesOf(viewer) }
    return inOrder(ids, await services.db.prisma.schedule.findMany({ where }))
  },
})

function objectOf(json: Prisma.JsonValue): Prisma.JsonObject {
  return typeof json === 'object' && json !== null && !Array.isArray(json) ? json : {}
}
