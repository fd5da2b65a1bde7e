import { setTimeout as delay } from 'node:timers/promises'
import type { AiError } from '../../ai/ai-error.ts'
import type { Answer } from '../../ai/model-call.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Database } from '../../platform/database/database.ts'
import { throughOutages } from '../../platform/database/through-outages.ts'
import type { Logger } from '../../platform/logger.ts'
import { callJson, recordCalls, recordedCall, type RecordedCall } from '../usage/ledger.ts'
import { columnsOf } from './completion-end.ts'

/** A completion without a key that is over. */
export type EndedCompletion = {
  id: string
  workspaceId: string
  userId: string
  startedAt: Date
  outcome: { status: 'SUCCEEDED'; answer: Answer } | { status: 'FAILED' | 'CANCELLED'; error: AiError }
}

/** What is kept of completions without a key: how they ended and what they have cost. Their text is not, because nobody can ask for it again. */
export interface CompletionRecords {
  /**
   * Resolves when it is written, or after `patienceMs` without the database: then it is written when the database is back, some five minutes later at the
   * most. Throws what the database refuses.
   */
  write(ended: EndedCompletion): Promise<void>
  /** Waits for what is being written; what the database is away for is given up, and what it has cost is logged. */
  close(): Promise<void>
}

export type CompletionRecordsDeps = {
  db: Database
  clock: Clock
  logger: Logger
  /** In [0, 1). */
  random: () => number
}

/** How long an answer that is there waits for the database before it is given all the same. */
export const patienceMs = 2_000

export function createCompletionRecords({ db, clock, logger, random }: CompletionRecordsDeps): CompletionRecords {
  const closing = new AbortController()
  // No more than were under way when the database went away: none begins without it.
  const pending = new Set<Promise<void>>()

  async function store(ended: EndedCompletion, calls: readonly RecordedCall[]): Promise<void> {
    const row = completionRow(ended, clock.now())
    await throughOutages(() => insert(db, row, calls), {
      random,
      signal: closing.signal,
      onOutage: (error) =>
        logger.warn({ err: error, completionId: ended.id }, 'the record of a completion has to wait for the database'),
    })
  }

  return {
    async write(ended) {
      const calls = callsOf(ended)
      let isLate = false
      const written = store(ended, calls)
        .catch((error: unknown) => {
          if (!isLate) throw error
          const lost = { err: error, completionId: ended.id, calls: calls.map(callJson) }
          logger.error(lost, 'what a completion has cost could not be written')
        })
        .finally(() => pending.delete(written))
      pending.add(written)
      const answered = new AbortController()
      const late = delay(patienceMs, undefined, { signal: answered.signal })
        .then(() => void (isLate = true))
        .catch(() => undefined)
      try {
        await Promise.race([written, late])
      } finally {
        answered.abort()
      }
    },
    async close() {
      closing.abort()
      await Promise.allSettled(pending)
    },
  }
}

type CompletionRow = ReturnType<typeof completionRow>

/** Safe to repeat: the answer to one that was done may have been lost. */
async function insert(db: Database, row: CompletionRow, calls: readonly RecordedCall[]): Promise<void> {
  await db.transaction(async (tx) => {
    await tx.completion.createMany({ data: [row], skipDuplicates: true })
    await recordCalls(tx, calls)
  })
}

function callsOf({ id, workspaceId, userId, outcome }: EndedCompletion): RecordedCall[] {
  const attempts = outcome.status === 'SUCCEEDED' ? outcome.answer.attempts : outcome.error.attempts
  const owner = { workspaceId, userId, completionId: id, agentId: null, taskId: null, attemptNumber: null }
  return attempts.map((attempt) => recordedCall(attempt, owner))
}

function completionRow({ id, workspaceId, userId, startedAt: createdAt, outcome }: EndedCompletion, finishedAt: Date) {
  const { json: _json, ...columns } =
    outcome.status === 'SUCCEEDED'
      ? columnsOf(outcome)
      : {
          json: null,
          ...columnsOf({
            status: outcome.status,
            code: outcome.error.kind.toUpperCase(),
            message: outcome.error.message,
          }),
        }
  return { id, workspaceId, userId, createdAt, finishedAt, ...columns }
}
