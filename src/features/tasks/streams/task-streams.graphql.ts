import { builder } from '../../../graphql/builder.ts'
import { requireViewer } from '../../accounts/viewer.ts'
import { AgentRef } from '../../agents/agent.graphql.ts'
import { WorkspaceRef } from '../../workspaces/workspace.graphql.ts'
import { parseTaskCursor } from './task-cursor.ts'
import type { TaskStreamItem, WorkspaceFeedItem } from './stream-items.ts'
import { TaskEventRef } from '../task-event.graphql.ts'
import { TaskRef, TaskStatusRef } from '../task.graphql.ts'

type Item<Kind extends TaskStreamItem['kind']> = Extract<TaskStreamItem, { kind: Kind }>

const resumable = 'Pass it as `after` to go on after this item: no gap, no duplicate.'

const TaskSnapshot = builder.objectRef<Item<'TaskSnapshot'>>('TaskSnapshot').implement({
  description: 'The first item when no `after` is given: the task and all of its output so far.',
  fields: (t) => ({
    cursor: t.exposeString('cursor', { description: resumable }),
    task: t.field({
      type: TaskRef,
      description: 'The task.',
      resolve: ({ task }) => ({ ...task, idempotencyHash: null }),
    }),
    output: t.exposeString('output', { description: 'The text so far; deltas go on from its end.' }),
  }),
})

const TaskChanged = builder.objectRef<Item<'TaskChanged'>>('TaskChanged').implement({
  description: 'The status of a task changed. In a task’s stream, all of its output comes before its last change.',
  fields: (t) => ({
    cursor: t.exposeString('cursor', { description: resumable }),
    event: t.expose('event', { type: TaskEventRef, description: 'What happened.' }),
  }),
})

const OutputDelta = builder.objectRef<Item<'OutputDelta'>>('OutputDelta').implement({
  description: 'The next piece of the output.',
  fields: (t) => ({
    cursor: t.exposeString('cursor', { description: resumable }),
    attempt: t.exposeInt('attempt', { description: 'The attempt that wrote it.' }),
    segment: t.exposeInt('segment', { description: 'The model run that wrote it; a new one begins with OutputReset.' }),
    offset: t.exposeInt('offset', { description: 'How much of the segment comes before it, in UTF-16 units.' }),
    text: t.exposeString('text', { description: 'The text.' }),
  }),
})

const OutputReset = builder.objectRef<Item<'OutputReset'>>('OutputReset').implement({
  description: 'Drop the output so far: another model run begins from the start.',
  fields: (t) => ({
    cursor: t.exposeString('cursor', { description: resumable }),
    attempt: t.exposeInt('attempt', { description: 'The attempt that writes now.' }),
    segment: t.exposeInt('segment', { description: 'The number of the model run that begins.' }),
    model: t.exposeString('model', { nullable: true, description: 'Who answers now.' }),
    reason: t.exposeString('reason', { description: 'Why what came before is void.' }),
  }),
})

const CaughtUp = builder.objectRef<Item<'CaughtUp'>>('CaughtUp').implement({
  description: 'What had happened before has been told; what follows happens now. Comes once.',
  fields: (t) => ({ cursor: t.exposeString('cursor', { description: resumable }) }),
})

const Heartbeat = builder.objectRef<Item<'Heartbeat'>>('Heartbeat').implement({
  description: 'Nothing has happened for 15 s.',
  fields: (t) => ({
    cursor: t.exposeString('cursor', { description: resumable }),
    serverTime: t.expose('serverTime', { type: 'DateTime', description: 'The time at the server.' }),
  }),
})

const ResyncRequired = builder.objectRef<Item<'ResyncRequired'>>('ResyncRequired').implement({
  description: 'The cursor leads nowhere any more; the last item. Start without `after`.',
  fields: (t) => ({ reason: t.exposeString('reason', { description: 'Why.' }) }),
})

const TaskStreamItemRef = builder.unionType('TaskStreamItem', {
  description: 'What a task’s stream is made of.',
  types: [TaskSnapshot, TaskChanged, OutputDelta, OutputReset, CaughtUp, Heartbeat, ResyncRequired],
  resolveType: ({ kind }) => kind,
})

const WorkspaceFeedItemRef = builder.unionType('WorkspaceFeedItem', {
  description: 'What a workspace’s feed is made of.',
  types: [TaskChanged, CaughtUp, Heartbeat, ResyncRequired],
  resolveType: ({ kind }) => kind,
})

const FeedFilter = builder.inputType('FeedFilter', {
  description: 'Which events of a feed to deliver; what is given must match.',
  fields: (t) => ({
    agentId: t.globalID({ for: AgentRef, description: 'Only tasks of this agent.' }),
    status: t.field({ type: [TaskStatusRef], description: 'Only events after which the task has one of these.' }),
  }),
})

builder.subscriptionField('taskStream', (t) =>
  t.field({
    type: TaskStreamItemRef,
    description:
      'A task, live: a snapshot (or, with `after`, what came since: changes, then text), CaughtUp, then every change and every token. All of the output comes before the terminal change, after which it ends; when that was among what came since, it ends after CaughtUp.',
    args: {
      taskId: t.arg.globalID({ for: TaskRef, required: true, description: 'Which task.' }),
      after: t.arg.string({
        description: 'The cursor of the last item that you have; it works as long as the task exists.',
      }),
    },
    subscribe: async (_root, { taskId, after }, context) => {
      const viewer = requireViewer(context.viewer)
      const { liveAccess, taskStreams, tasks } = context.services
      // A forged cursor is refused before it reaches the database.
      if (after != null) parseTaskCursor(after, taskId.id)
      const workspaceId = await tasks.workspaceOf(viewer, taskId.id)
      return liveAccess.guard({ viewer, workspaceId, role: 'VIEWER' }, () =>
        taskStreams.open(viewer, { taskId: taskId.id, after: after ?? null }),
      )
    },
    resolve: (item: TaskStreamItem) => item,
  }),
)

builder.subscriptionField('workspaceFeed', (t) =>
  t.field({
    type: WorkspaceFeedItemRef,
    description:
      'Every change of every task of a workspace, in one order. Query your lists together with `Workspace.feedCursor`, then subscribe after it.',
    args: {
      workspaceId: t.arg.globalID({ for: WorkspaceRef, description: 'Which workspace; default: your personal one.' }),
      after: t.arg.string({
        description: 'The cursor of the last item that you have, at most 30 days old; default: now.',
      }),
      filter: t.arg({ type: FeedFilter, description: 'Which events to deliver.' }),
    },
    subscribe: async (_root, { workspaceId: given, after, filter }, context) => {
      const viewer = requireViewer(context.viewer)
      const { liveAccess, workspaceFeeds, workspaces } = context.services
      const workspaceId = given?.id ?? (await workspaces.access.personalWorkspaceId(viewer))
      const options = { after: after ?? null, filter: { agentId: filter?.agentId?.id, status: filter?.status } }
      return liveAccess.guard({ viewer, workspaceId, role: 'VIEWER' }, () =>
        workspaceFeeds.open(viewer, { workspaceId, ...options }),
      )
    },
    resolve: (item: WorkspaceFeedItem) => item,
  }),
)
