import { builder } from '../../graphql/builder.ts'
import { originOf } from '../../graphql/origin-of.ts'
import { requireViewer } from '../accounts/viewer.ts'
import { taskLimits } from './new-task.ts'
import { TaskPayload } from './task-payload.graphql.ts'
import { TaskRef } from './task.graphql.ts'

const { min, max } = taskLimits.priority

const SetTaskPriorityInput = builder.inputType('SetTaskPriorityInput', {
  description: 'Which task is to be more, or less, urgent.',
  fields: (t) => ({
    id: t.globalID({ for: TaskRef, required: true, description: 'Which task.' }),
    priority: t.int({ required: true, description: `${min} to ${max}, higher first.` }),
  }),
})

builder.mutationField('setTaskPriority', (t) =>
  t.field({
    type: TaskPayload,
    description:
      'Changes how urgent a task is among those of its agent. For one that runs it holds from its next attempt on; one that has ended is a CONFLICT.',
    args: { input: t.arg({ type: SetTaskPriorityInput, required: true, description: 'Which task, and how urgent.' }) },
    resolve: async (_root, { input }, context) => {
      const { id, priority } = input
      const viewer = requireViewer(context.viewer)
      return { task: await context.services.taskPriorities.set(viewer, { id: id.id, priority }, originOf(context)) }
    },
  }),
)
