import type { TaskEventRecord, TaskRow } from './task-messages.ts'

/** An event with its task: as the event left it when it is delivered live, as it is now when it is replayed. */
export type TaskEventView = TaskEventRecord & { task: TaskRow }

// Every item but the last carries the cursor with which a reader that has it goes on: no gap, no duplicate.

/** The whole of a task and of its output so far. */
export type TaskSnapshotItem = { kind: 'TaskSnapshot'; cursor: string; task: TaskRow; output: string }
export type TaskChangedItem = { kind: 'TaskChanged'; cursor: string; event: TaskEventView }
/** `offset` is where `text` begins in its segment, in UTF-16 units. */
export type OutputDeltaItem = {
  kind: 'OutputDelta'
  cursor: string
  attempt: number
  segment: number
  offset: number
  text: string
}
/** The output so far is void: a new segment begins. */
export type OutputResetItem = {
  kind: 'OutputReset'
  cursor: string
  attempt: number
  segment: number
  model: string | null
  reason: string
}
/** Replay ends, live begins. Comes once. */
export type CaughtUpItem = { kind: 'CaughtUp'; cursor: string }
/** Nothing has happened for a while. */
export type HeartbeatItem = { kind: 'Heartbeat'; cursor: string; serverTime: Date }
/** The rows no longer lead on from the cursor: start without one. The last item of its stream. */
export type ResyncRequiredItem = { kind: 'ResyncRequired'; reason: string }

export type TaskStreamItem =
  | TaskSnapshotItem
  | TaskChangedItem
  | OutputDeltaItem
  | OutputResetItem
  | CaughtUpItem
  | HeartbeatItem
  | ResyncRequiredItem

export type WorkspaceFeedItem = TaskChangedItem | CaughtUpItem | HeartbeatItem | ResyncRequiredItem
