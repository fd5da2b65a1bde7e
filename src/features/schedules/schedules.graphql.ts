import type { Schedule } from '../../generated/prisma/client.ts'
import { builder } from '../../graphql/builder.ts'
import { originOf } from '../../graphql/origin-of.ts'
import { requireViewer } from '../accounts/viewer.ts'
import { CreateTaskInput } from '../tasks/tasks.graphql.ts'
import { scheduleLimits } from './schedule-input.ts'
import { ScheduleRef } from './schedule.graphql.ts'

builder.prismaObjectField('Workspace', 'schedules', (t) =>
  t.relation('schedules', {
    description: `Its schedules by name, at most ${scheduleLimits.perWorkspace}.`,
    query: { where: { deletedAt: null }, orderBy: [{ name: 'asc' }, { id: 'asc' }] },
  }),
)

builder.prismaObjectFields('Task', (t) => ({
  schedule: t.field({
    type: ScheduleRef,
    nullable: true,
    description: 'The schedule that has made it; null when nobody’s has, or it was deleted.',
    select: { schedule: true },
    resolve: ({ schedule }) => (schedule?.deletedAt === null ? schedule : null),
  }),
  scheduledFor: t.expose('scheduledFor', {
    type: 'DateTime',
    nullable: true,
    description: 'The due time of the schedule that it answers.',
  }),
}))

const cron = `Minute, hour, day of month, month and day of week, at most ${scheduleLimits.cronLength} characters: "0 9 * * MON-FRI"; or @hourly, @daily, @weekly, @monthly, @yearly.`
const timeZone = 'The name of an IANA time zone, such as Europe/Berlin, whose clocks `cron` means'
const task =
  'What each task is made of. Not with runAt, idempotencyKey or dependsOn: when it runs is the schedule’s, and it waits for no others.'

const CreateScheduleInput = builder.inputType('CreateScheduleInput', {
  description: 'A new schedule. It belongs to the workspace of its agent.',
  fields: (t) => ({
    name: t.string({
      required: true,
      description: `1 to ${scheduleLimits.nameLength} characters in one line, unique in the workspace.`,
    }),
    cron: t.string({ required: true, description: cron }),
    timeZone: t.string({ defaultValue: 'UTC', description: `${timeZone}.` }),
    task: t.field({ type: CreateTaskInput, required: true, description: task }),
  }),
})

const UpdateScheduleInput = builder.inputType('UpdateScheduleInput', {
  description: 'What to change of a schedule; what is absent stays.',
  fields: (t) => ({
    id: t.globalID({ for: ScheduleRef, required: true, description: 'Which schedule.' }),
    cron: t.string({ description: cron }),
    timeZone: t.string({ description: `${timeZone}.` }),
    paused: t.boolean({ description: 'Whether it makes no tasks. When a pause ends it goes on from now.' }),
    task: t.field({ type: CreateTaskInput, description: `${task} Replaces all of it.` }),
  }),
})

const ScheduleInput = builder.inputType('ScheduleInput', {
  description: 'Which schedule.',
  fields: (t) => ({ id: t.globalID({ for: ScheduleRef, required: true, description: 'Which schedule.' }) }),
})

const SchedulePayload = builder.objectRef<{ schedule: Schedule }>('SchedulePayload').implement({
  description: 'A schedule that was made, changed or deleted.',
  fields: (t) => ({
    schedule: t.expose('schedule', { type: ScheduleRef, description: 'As it is now, or was before it was deleted.' }),
  }),
})

type TaskArgument = typeof CreateTaskInput.$inferInput

/** Ids of rows in the place of global ids. */
function rowIds({ agentId, dependsOn, ...rest }: TaskArgument) {
  return { ...rest, agentId: agentId.id, dependsOn: dependsOn?.map(({ id }) => id) }
}

builder.mutationFields((t) => ({
  createSchedule: t.field({
    type: SchedulePayload,
    description: 'Makes a schedule. Its first task comes at the next time that it names.',
    args: { input: t.arg({ type: CreateScheduleInput, required: true, description: 'What it is.' }) },
    resolve: async (_root, { input }, context) => {
      const fields = { ...input, task: rowIds(input.task) }
      const viewer = requireViewer(context.viewer)
      return { schedule: await context.services.schedules.create(viewer, fields, originOf(context)) }
    },
  }),
  updateSchedule: t.field({
    type: SchedulePayload,
    description: 'Changes a schedule. Tasks that it has made stay as they are.',
    args: { input: t.arg({ type: UpdateScheduleInput, required: true, description: 'What to change.' }) },
    resolve: async (_root, { input }, context) => {
      const fields = { ...input, id: input.id.id, task: input.task && rowIds(input.task) }
      const viewer = requireViewer(context.viewer)
      return { schedule: await context.services.schedules.update(viewer, fields, originOf(context)) }
    },
  }),
  deleteSchedule: t.field({
    type: SchedulePayload,
    description: 'Deletes a schedule. Tasks that it has made stay, and run.',
    args: { input: t.arg({ type: ScheduleInput, required: true, description: 'Which schedule.' }) },
    resolve: async (_root, { input }, context) => {
      const viewer = requireViewer(context.viewer)
      return { schedule: await context.services.schedules.delete(viewer, input.id.id, originOf(context)) }
    },
  }),
}))
