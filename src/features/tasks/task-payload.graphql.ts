import { builder } from '../../graphql/builder.ts'
import type { TaskRow } from './streams/task-messages.ts'
import { TaskRef } from './task.graphql.ts'

export const TaskPayload = builder.objectRef<{ task: TaskRow }>('TaskPayload').implement({
  description: 'A task that was made or changed.',
  fields: (t) => ({
    task: t.field({
      type: TaskRef,
      description: 'As it is now.',
      resolve: ({ task }) => ({ ...task, idempotencyHash: null }),
    }),
  }),
})
