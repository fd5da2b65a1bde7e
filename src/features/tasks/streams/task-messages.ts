import type { AttemptStatus, Task, TaskEventType, TaskStatus } from '../../../generated/prisma/client.ts'

/** A task row as the program holds it, without the bytes that nobody outside needs. */
export type TaskRow = Omit<Task, 'idempotencyHash'>

/** A row of `task_event`. `seq` is the workspace's sequence number, `version` the task's. */
export type TaskEventRecord = {
  taskId: string
  workspaceId: string
  seq: number
  version: number
  type: TaskEventType
  status: TaskStatus
  attempt: number
  reason: string | null
  at: Date
}

/** One committed transition: its event, and the task as the transition left it. */
export type TaskTransition = {
  event: TaskEventRecord
  task: TaskRow
  /** The output's head when the transition ended the task: the latest segment (0: none) and its length in UTF-16 units. */
  output: { segment: number; length: number } | null
}

/** A piece of output that is a row by now (or part of the final text). `reason` says why the text before the segment was dropped. */
export type OutputDeltaRecord = {
  taskId: string
  attempt: number
  segment: number
  offset: number
  text: string
  model: string | null
  reason: string | null
}

/** What is published on `task:<id>` (events and deltas) and `workspace:<id>` (events only). JSON: dates travel as ISO strings. */
export type TaskMessage = { kind: 'event'; transition: TaskTransition } | { kind: 'delta'; delta: OutputDeltaRecord }

export const taskTopic = (taskId: string): string => `task:${taskId}`
export const workspaceTopic = (workspaceId: string): string => `workspace:${workspaceId}`

export const terminalStatuses: ReadonlySet<TaskStatus> = new Set(['SUCCEEDED', 'FAILED', 'CANCELLED', 'SKIPPED'])

export type EndedAttemptStatus = Exclude<AttemptStatus, 'RUNNING'>
