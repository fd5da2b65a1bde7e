import type { Clock } from '../../../lib/clock.ts'
import { NotFoundError } from '../../../lib/errors.ts'
import type { Database } from '../../../platform/database/database.ts'
import type { Events } from '../../../platform/events/events.ts'
import type { Logger } from '../../../platform/logger.ts'
import type { Viewer } from '../../accounts/viewer.ts'
import { defaultStreamTimings, follow, type Follower, type StreamTimings } from './follow.ts'
import type { TaskStreamItem } from './stream-items.ts'
import { parseTaskCursor, taskCursor, type TaskPosition } from './task-cursor.ts'
import { parseTaskMessage } from './task-message-codec.ts'
import { taskTopic, terminalStatuses, type TaskMessage } from './task-messages.ts'
import { readTaskHeads, readTaskRows, readTaskSnapshot } from './task-stream-rows.ts'
import { acceptHead, acceptMessage, acceptRows, type Progress, type TaskHead } from './task-stream-state.ts'
import { createTopicHub } from './topic-hub.ts'

/** One task, live: its events and its output. */
export interface TaskStreams {
  /**
   * Opens the stream of a task that the viewer may see.
   *
   * - Without `after`: TaskSnapshot, CaughtUp, live items.
   * - With the cursor of an item as `after`, for as long as the task exists: what came after that item (events; the rest of its segment, or
   *   OutputReset and the latest segment), CaughtUp, live items.
   * - It ends after the terminal TaskChanged, which all of the output comes before. For a task that has ended, that is in the replay, and
   *   CaughtUp is the last item; so it is when there is nothing new.
   * - ResyncRequired instead of anything else, as the last item, when the rows do not lead on from `after` (a restored backup).
   * - Heartbeat whenever nothing came for a while.
   *
   * Resolves when the task was found and the first page read. The caller must iterate it or call `return()`, which is prompt.
   *
   * Throws NotFoundError (no such task of the viewer's) and BadUserInputError naming `after`; the iteration throws
   * ServiceUnavailableError when the server stops or the database does not answer.
   */
  open(
    viewer: Viewer,
    options: { taskId: string; after: string | null },
  ): Promise<AsyncGenerator<TaskStreamItem, void, undefined>>
  /** How many tasks are being watched. */
  topicCount(): number
  /** Ends all streams with ServiceUnavailableError. */
  close(): Promise<void>
}

export type TaskStreamsDeps = {
  db: Database
  events: Events
  clock: Clock
  logger: Logger
  timings?: Partial<StreamTimings>
  /** How many signals one reader may have waiting before it turns to the rows. Default 512. */
  maxQueuedSignals?: number | undefined
}

export function createTaskStreams(deps: TaskStreamsDeps): TaskStreams {
  const { db, events, clock, logger, maxQueuedSignals } = deps
  const timings = { ...defaultStreamTimings, ...deps.timings }
  const hub = createTopicHub<TaskMessage, TaskHead>({
    events,
    topicOf: taskTopic,
    parse: parseTaskMessage,
    readHeads: (taskIds) => readTaskHeads(db, taskIds),
    logger,
    headPollMs: timings.headPollMs,
    maxQueuedSignals,
  })

  return {
    async open(viewer, { taskId, after }) {
      const start = after === null ? null : parseTaskCursor(after, taskId)
      const follower = createTaskFollower({ db, clock, taskId, viewer, start })
      return follow({ hub, key: taskId, follower, clock, timings })
    },
    topicCount: () => hub.topicCount(),
    close: () => hub.close(),
  }
}

type TaskFollowerOptions = { db: Database; clock: Clock; taskId: string; viewer: Viewer; start: TaskPosition | null }

function createTaskFollower(options: TaskFollowerOptions): Follower<TaskMessage, TaskHead, TaskStreamItem> {
  const { db, clock, taskId, viewer, start } = options
  let position: TaskPosition = start ?? { version: 0, segment: 0, offset: 0 }
  let isStarted = start !== null
  let isCaughtUp = false
  let ended = false

  function move(progress: Progress): readonly TaskStreamItem[] {
    position = progress.position
    ended = progress.ended
    return progress.items
  }

  function caughtUp(): readonly TaskStreamItem[] {
    if (isCaughtUp) return []
    isCaughtUp = true
    return [{ kind: 'CaughtUp', cursor: taskCursor(taskId, position) }]
  }

  async function readSnapshot(): Promise<readonly TaskStreamItem[]> {
    const snapshot = await readTaskSnapshot(db, { taskId, viewer })
    if (snapshot === null) throw new NotFoundError('task')
    const { task, output } = snapshot
    isStarted = true
    position = snapshot.position
    ended = terminalStatuses.has(task.status)
    return [{ kind: 'TaskSnapshot', cursor: taskCursor(taskId, position), task, output }, ...caughtUp()]
  }

  return {
    async readPage() {
      if (!isStarted) return { items: await readSnapshot(), more: false }
      const rows = await readTaskRows(db, { taskId, viewer }, position)
      if (rows === null) throw new NotFoundError('task')
      const progress = acceptRows(position, rows)
      const items = move(progress)
      const isLevel = !progress.more && items.at(-1)?.kind !== 'ResyncRequired'
      return { items: isLevel ? [...items, ...caughtUp()] : items, more: progress.more }
    },
    acceptMessage(message) {
      const progress = acceptMessage(position, message)
      return progress === 'gap' ? 'gap' : move(progress)
    },
    acceptHead(head) {
      const progress = acceptHead(position, head)
      return progress === 'gap' ? 'gap' : move(progress)
    },
    heartbeat: () => ({ kind: 'Heartbeat', cursor: taskCursor(taskId, position), serverTime: clock.now() }),
    ended: () => ended,
  }
}
