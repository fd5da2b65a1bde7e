import { builder } from '../../graphql/builder.ts'
import { parseEventPage, toEventPage } from './event-page.ts'
import { TaskEventRef } from './task-event.graphql.ts'

const TaskEventConnection = builder.connectionObject({ type: TaskEventRef, name: 'TaskEventConnection' })

// Not `t.connection`, which would add arguments for going backward.
builder.prismaObjectFields('Task', (t) => ({
  events: t.field({
    type: TaskEventConnection,
    description: 'What has happened to it, the oldest first.',
    extensions: { ownCursor: true },
    args: {
      first: t.arg.int({ description: 'How many, at most 100; default 20.' }),
      after: t.arg.string({ description: 'Only what comes after this cursor.' }),
    },
    resolve: async (task, args, { loaders }) => {
      const range = parseEventPage(args)
      const { edges, pageInfo } = toEventPage(await loaders.taskEvents(range).load(task.id), range)
      return { edges: edges.map(({ cursor, event }) => ({ cursor, node: { ...event, task } })), pageInfo }
    },
  }),
}))
