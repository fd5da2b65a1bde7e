import type { TaskStatus } from '../../../generated/prisma/client.ts'
import type { Clock } from '../../../lib/clock.ts'
import { NotFoundError } from '../../../lib/errors.ts'
import type { Database } from '../../../platform/database/database.ts'
import type { Events } from '../../../platform/events/events.ts'
import type { Logger } from '../../../platform/logger.ts'
import type { Viewer } from '../../accounts/viewer.ts'
import { defaultStreamTimings, follow, type Follower, type StreamTimings } from './follow.ts'
import type { WorkspaceFeedItem } from './stream-items.ts'
import { feedCursor, parseFeedCursor } from './task-cursor.ts'
import { parseTaskMessage } from './task-message-codec.ts'
import { workspaceTopic, type TaskMessage, type TaskTransition } from './task-messages.ts'
import { createTopicHub } from './topic-hub.ts'
import { readFeedHeads, readFeedRows, type FeedRows } from './workspace-feed-rows.ts'

/** Every event of every task of one workspace, in one total order: the order in which they were committed. */
export interface WorkspaceFeeds {
  /**
   * Opens the feed of a workspace that the viewer is a member of.
   *
   * - Without `after`: it begins now, with CaughtUp.
   * - With the cursor of an item (or `Workspace.feedCursor`) as `after`: the events since then, CaughtUp, live events.
   * - ResyncRequired, as the last item, when the events after `after` are older than 30 days or not kept any more.
   * - Heartbeat whenever nothing came for a while; its cursor has moved past events that the filter left out.
   *
   * It does not end by itself. Resolves when the first page is read. The caller must iterate it or call `return()`, which is prompt.
   *
   * Throws NotFoundError (no such workspace of the viewer's) and BadUserInputError naming `after`; the iteration throws
   * ServiceUnavailableError when the server stops or the database does not answer.
   */
  open(viewer: Viewer, options: FeedOptions): Promise<AsyncGenerator<WorkspaceFeedItem, void, undefined>>
  /** How many workspaces are being watched. */
  topicCount(): number
  /** Ends all feeds with ServiceUnavailableError. */
  close(): Promise<void>
}

export type FeedOptions = { workspaceId: string; after: string | null; filter?: FeedFilter }

/** What is given must match: the task's agent; the status after the event. */
export type FeedFilter = { agentId?: string | null | undefined; status?: readonly TaskStatus[] | null | undefined }

export type WorkspaceFeedsDeps = {
  db: Database
  events: Events
  clock: Clock
  logger: Logger
  timings?: Partial<StreamTimings>
  /** How many signals one reader may have waiting before it turns to the rows. Default 512. */
  maxQueuedSignals?: number | undefined
}

/** Events are kept that long; the feed does not promise more even where rows are still there. */
const retentionMs = 30 * 24 * 60 * 60 * 1_000

export function createWorkspaceFeeds(deps: WorkspaceFeedsDeps): WorkspaceFeeds {
  const { db, events, clock, logger, maxQueuedSignals } = deps
  const timings = { ...defaultStreamTimings, ...deps.timings }
  const hub = createTopicHub<TaskMessage, number>({
    events,
    topicOf: workspaceTopic,
    parse: parseTaskMessage,
    readHeads: (workspaceIds) => readFeedHeads(db, workspaceIds),
    logger,
    headPollMs: timings.headPollMs,
    maxQueuedSignals,
  })

  return {
    async open({ userId, apiKey }, { workspaceId, after, filter = {} }) {
      if (apiKey !== undefined && apiKey.workspaceId !== workspaceId) throw new NotFoundError('workspace')
      const start = after === null ? null : parseFeedCursor(after, workspaceId)
      const follower = createFeedFollower({ db, clock, workspaceId, userId, start, filter })
      return follow({ hub, key: workspaceId, follower, clock, timings })
    },
    topicCount: () => hub.topicCount(),
    close: () => hub.close(),
  }
}

type FeedFollowerOptions = {
  db: Database
  clock: Clock
  workspaceId: string
  userId: string
  start: number | null
  filter: FeedFilter
}

/*
 * The position is the sequence number of the last event seen.
 *
 *   what comes                        position becomes     result
 *   event   seq <= ours               -                    nothing: seen
 *   event   the next                  its seq              TaskChanged, unless filtered out
 *   event   a later one               -                    gap
 *   head    not beyond us             -                    nothing
 *   head    beyond us                 -                    gap
 *   rows    lead on from us           the last of them     TaskChanged*
 *   rows    behind us, with a hole,
 *           or too old                -                    ResyncRequired, the end
 */
function createFeedFollower(options: FeedFollowerOptions): Follower<TaskMessage, number, WorkspaceFeedItem> {
  const { db, clock, workspaceId, userId, start, filter } = options
  let seq = start
  let isCaughtUp = false
  let ended = false

  const cursor = (): string => feedCursor(workspaceId, seq ?? 0)

  function take({ event, task }: TaskTransition): readonly WorkspaceFeedItem[] {
    seq = event.seq
    const isWanted =
      (filter.agentId ?? task.agentId) === task.agentId && (filter.status?.includes(event.status) ?? true)
    return isWanted ? [{ kind: 'TaskChanged', cursor: cursor(), event: { ...event, task } }] : []
  }

  function caughtUp(): readonly WorkspaceFeedItem[] {
    if (isCaughtUp) return []
    isCaughtUp = true
    return [{ kind: 'CaughtUp', cursor: cursor() }]
  }

  return {
    async readPage() {
      const rows = await readFeedRows(db, { workspaceId, userId, afterSeq: seq })
      if (rows === null) throw new NotFoundError('workspace')
      seq ??= rows.lastSeq
      const reason = whyNotContinuous(seq, rows, new Date(clock.now().getTime() - retentionMs))
      if (reason !== null) {
        ended = true
        return { items: [{ kind: 'ResyncRequired', reason }], more: false }
      }
      const items = rows.transitions.flatMap(take)
      const more = seq < rows.lastSeq
      return { items: more ? items : [...items, ...caughtUp()], more }
    },
    acceptMessage(message) {
      if (message.kind !== 'event' || seq === null) return []
      const { event } = message.transition
      if (event.seq <= seq) return []
      return event.seq === seq + 1 ? take(message.transition) : 'gap'
    },
    acceptHead: (head) => (seq !== null && head > seq ? 'gap' : []),
    heartbeat: () => ({ kind: 'Heartbeat', cursor: cursor(), serverTime: clock.now() }),
    ended: () => ended,
  }
}

/** Why the rows do not lead on from the position; null when they do. */
function whyNotContinuous(seq: number, { lastSeq, transitions }: FeedRows, oldest: Date): string | null {
  if (seq > lastSeq) return 'The workspace is behind this cursor: it was restored from a backup.'
  const isWhole = transitions.every(({ event }, index) => event.seq === seq + 1 + index)
  const isMissing = transitions.length === 0 && seq < lastSeq
  const isTooOld = transitions.some(({ event }) => event.at < oldest)
  return isWhole && !isMissing && !isTooOld ? null : 'Events after this cursor are not kept any more.'
}
