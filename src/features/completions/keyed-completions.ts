import { createHash } from 'node:crypto'
import type { ModelRequest } from '../../ai/model-call.ts'
import { canonicalJson } from '../../lib/canonical-json.ts'
import type { Clock } from '../../lib/clock.ts'
import { ConflictError, NotFoundError } from '../../lib/errors.ts'
import type { NewId } from '../../lib/ids.ts'
import type { Database } from '../../platform/database/database.ts'
import type { Events } from '../../platform/events/events.ts'
import type { Logger } from '../../platform/logger.ts'
import { defaultStreamTimings, follow } from '../tasks/streams/follow.ts'
import { createTopicHub } from '../tasks/streams/topic-hub.ts'
import { parseCompletionCursor, type CompletionPosition } from './completion-cursor.ts'
import { endCompletion } from './completion-end.ts'
import { createCompletionFollower, type FollowedItem } from './completion-follower.ts'
import type { CompletionItem } from './completion-items.ts'
import type { CompletionLeases } from './completion-leases.ts'
import { completionTopic, parseCompletionMessage, type CompletionMessage } from './completion-messages.ts'
import { readCompletion, readCompletionHeads, type CompletionHead, type CompletionRows } from './completion-rows.ts'
import type { CompletionRuns } from './completion-runs.ts'

/**
 * Completions with a key: what one process runs, every process can listen to, from any place, while it runs and afterwards.
 *
 * | the key            | what `open` does                                                                                       |
 * | ------------------ | ------------------------------------------------------------------------------------------------------ |
 * | is new             | runs it here                                                                                           |
 * | runs               | listens                                                                                                |
 * | has an end         | tells it again, a failure too: another try is another key                                              |
 * | was aborted        | (nobody listened for too long) runs it again, from the start                                            |
 * | was left behind    | (its process is lost) runs it again here, as whoever is listening elsewhere would; with the policy ERROR it fails |
 * | had another body   | ConflictError                                                                                          |
 */
export interface KeyedCompletions {
  /** The caller must iterate it or call `return()`. Throws ConflictError, BadUserInputError naming `after`, ServerBusyError. */
  open(question: KeyedQuestion): Promise<AsyncGenerator<CompletionItem, void, undefined>>
  /** What the rows have; null when the workspace has no such key. */
  find(workspaceId: string, key: string): Promise<CompletionRows | null>
  /** Ends all streams with ServiceUnavailableError, and gives up what runs here. */
  close(): Promise<void>
}

export type KeyedQuestion = {
  workspaceId: string
  userId: string
  key: string
  request: ModelRequest
  /** The cursor of the last item that the caller has; null: from the start. */
  after: string | null
}

export type KeyedCompletionsDeps = {
  db: Database
  events: Events
  leases: CompletionLeases
  runs: CompletionRuns
  clock: Clock
  newId: NewId
  logger: Logger
}

export function createKeyedCompletions(deps: KeyedCompletionsDeps): KeyedCompletions {
  const { db, events, leases, runs, clock, newId, logger } = deps
  // A completion has one writer, whose messages come in order: there is nothing to wait for.
  const timings = { ...defaultStreamTimings, reorderMs: 0 }
  const hub = createTopicHub<CompletionMessage, CompletionHead>({
    events,
    topicOf: completionTopic,
    parse: parseCompletionMessage,
    readHeads: (ids) => readCompletionHeads(db, ids),
    logger,
    headPollMs: timings.headPollMs,
  })

  async function beginOrFind({ workspaceId, userId, key, request }: KeyedQuestion): Promise<string> {
    const requestHash = createHash('sha256').update(canonicalJson(request)).digest('hex')
    const found = await leases.find(workspaceId, key)
    if (found !== null) return checked(found, requestHash)
    const [id, leaseToken] = [newId(), newId()]
    if (await leases.begin({ id, workspaceId, userId, key, requestHash, leaseToken })) {
      startOrRelease({ id, workspaceId, userId, leaseToken, lastSegment: 0, request })
      return id
    }
    const winner = await leases.find(workspaceId, key)
    if (winner === null) throw new NotFoundError('completion')
    return checked(winner, requestHash)
  }

  function startOrRelease(run: Parameters<CompletionRuns['start']>[0]): void {
    try {
      runs.start(run)
    } catch (error) {
      leases
        .release(run.leaseToken)
        .catch((failure: unknown) => logger.warn({ err: failure }, 'a lease of a completion was not released'))
      throw error
    }
  }

  /** Nobody runs it any more: this process does, for whoever listens here. */
  async function takeOver(id: string, { workspaceId, userId, request }: KeyedQuestion): Promise<void> {
    const leaseToken = newId()
    const lastSegment = await leases.takeOver(id, leaseToken)
    // Somebody else was faster.
    if (lastSegment === null) return
    if (request.onInterrupt === 'RESTART' || lastSegment === 0) {
      startOrRelease({ id, workspaceId, userId, leaseToken, lastSegment, request })
      return
    }
    const message = 'The process that answered was lost.'
    const outcome = { status: 'FAILED', code: 'INTERRUPTED', message } as const
    await endCompletion(db, { id, leaseToken, outcome, segment: null, calls: [], finishedAt: clock.now() })
  }

  async function read(id: string, question: KeyedQuestion, position: CompletionPosition): Promise<CompletionRows> {
    const rows = await readCompletion(db, id, position)
    if (rows === null) throw new NotFoundError('completion')
    if (!rows.isAbandoned && rows.status !== 'CANCELLED') return rows
    await takeOver(id, question)
    return (await readCompletion(db, id, position)) ?? rows
  }

  return {
    async open(question) {
      const id = await beginOrFind(question)
      const after = question.after === null ? null : parseCompletionCursor(question.after, id)
      const leave = runs.listen(id)
      try {
        const follower = createCompletionFollower({ id, after, read: (position) => read(id, question, position) })
        const items = await follow({ hub, key: id, follower, clock, timings })
        return whileListening(items, leave)
      } catch (error) {
        leave()
        throw error
      }
    },
    async find(workspaceId, key) {
      const row = await db.prisma.completion.findUnique({
        where: { workspaceId_key: { workspaceId, key } },
        select: { id: true },
      })
      return row === null ? null : readCompletion(db, row.id, { segment: 0, offset: 0 })
    },
    async close() {
      await hub.close()
      await runs.close()
    },
  }
}

function checked(found: { id: string; requestHash: string }, requestHash: string): string {
  if (found.requestHash === requestHash) return found.id
  throw new ConflictError('This key was used with another request.', {
    details: { field: 'input.key' },
    suggestions: ['Send the request that the key was first used with, or take another key.'],
  })
}

/** Nothing but what callers are told, and `leave` when it is over, whoever ends it. */
function whileListening(
  items: AsyncGenerator<FollowedItem, void, undefined>,
  leave: () => void,
): AsyncGenerator<CompletionItem, void, undefined> {
  async function next(): Promise<IteratorResult<CompletionItem, void>> {
    try {
      for (;;) {
        const step = await items.next()
        if (step.done === true) {
          leave()
          return step
        }
        if (step.value.type !== 'alive') return { done: false, value: step.value }
      }
    } catch (error) {
      leave()
      throw error
    }
  }
  async function stop(): Promise<IteratorResult<CompletionItem, void>> {
    leave()
    await items.return()
    return { done: true, value: undefined }
  }
  return {
    next,
    return: stop,
    throw: async (error) => {
      await stop()
      throw error
    },
    [Symbol.asyncIterator]() {
      return this
    },
    async [Symbol.asyncDispose]() {
      await stop()
    },
  }
}
