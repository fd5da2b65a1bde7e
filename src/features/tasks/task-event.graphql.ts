import { builder } from '../../graphql/builder.ts'
import { feedCursor } from './streams/task-cursor.ts'
import { TaskRef, TaskStatusRef } from './task.graphql.ts'
import type { TaskEventView } from './streams/stream-items.ts'

const taskEventTypes = {
  CREATED: { description: 'It was submitted.' },
  QUEUED: { description: 'It waits for a free place: it was due, or its worker was lost.' },
  SCHEDULED: { description: 'It waits until a limit frees up.' },
  STARTED: { description: 'An attempt began.' },
  RELEASED: { description: 'Its worker gave it back, because it was shut down.' },
  RETRY_SCHEDULED: { description: 'The attempt failed, and another will follow.' },
  PRIORITY_CHANGED: { description: 'Its priority was changed.' },
  CANCEL_REQUESTED: { description: 'It runs, and was asked to stop.' },
  SUCCEEDED: { description: 'It is done.' },
  FAILED: { description: 'It failed, and is not tried again.' },
  CANCELLED: { description: 'Somebody stopped it.' },
  SKIPPED: { description: 'A task that it depends on did not succeed.' },
  REVIVED: { description: 'It had ended, and begins again.' },
} as const

const TaskEventTypeRef = builder.enumType('TaskEventType', {
  description: 'What happened to a task.',
  values: taskEventTypes,
})

/** One transition. Live it brings the task as it left it; in a replay, the task as it is now. */
export const TaskEventRef = builder.objectRef<TaskEventView>('TaskEvent').implement({
  description: 'One change of a task’s status. A task’s versions, and a workspace’s feed, have no gaps.',
  fields: (t) => ({
    type: t.expose('type', { type: TaskEventTypeRef, description: 'What happened.' }),
    task: t.field({
      type: TaskRef,
      description: 'The task: live, as the event left it; in a replay and in lists, as it is now.',
      // The bytes of the hash are nobody’s business outside; the row is whole otherwise, so that no query is needed.
      resolve: ({ task }) => ({ ...task, idempotencyHash: null }),
    }),
    version: t.exposeInt('version', { description: 'The task’s version: its events are numbered from 1.' }),
    status: t.expose('status', { type: TaskStatusRef, description: 'The status after it.' }),
    attempt: t.exposeInt('attempt', {
      description: 'The number of the task’s latest attempt then; 0 before the first.',
    }),
    reason: t.exposeString('reason', { nullable: true, description: 'Why, in words.' }),
    at: t.expose('at', { type: 'DateTime', description: 'When, by the database’s clock.' }),
    cursor: t.string({
      description: 'Its place in the feed of the workspace: `workspaceFeed` goes on `after` it.',
      resolve: ({ workspaceId, seq }) => feedCursor(workspaceId, seq),
    }),
  }),
})
