import { Prisma } from '../../generated/prisma/client.ts'
import type { Answer } from '../../ai/model-call.ts'
import { storableJson, toStorable } from '../../lib/stored-text.ts'
import type { Database } from '../../platform/database/database.ts'
import { recordCalls, type RecordedCall } from '../usage/ledger.ts'

/** How a completion ended. */
export type CompletionOutcome =
  { status: 'SUCCEEDED'; answer: Answer } | { status: 'FAILED' | 'CANCELLED'; code: string; message: string }

export type CompletionEnd = {
  id: string
  leaseToken: string
  outcome: CompletionOutcome
  /** The latest segment and all of its text; null: there is none, or it is in the chunks. */
  segment: { segment: number; model: string; reason: string | null; text: string } | null
  calls: readonly RecordedCall[]
  finishedAt: Date
}

/**
 * Writes the end of a completion with a key, its text and what it has cost, in one transaction. False: the lease is not ours any more, and only
 * the ledger was written, because the money was spent.
 */
export async function endCompletion(db: Database, end: CompletionEnd): Promise<boolean> {
  const { id, leaseToken, segment, calls, finishedAt } = end
  return db.transaction(async (tx) => {
    const text = segment === null ? await assembled(tx, id) : segment.text
    const ended = await tx.completion.updateMany({
      where: { id, leaseToken, status: 'RUNNING' },
      data: { ...columnsOf(end.outcome), text, finishedAt, leaseToken: null, leaseExpiresAt: null },
    })
    await recordCalls(tx, calls)
    if (ended.count === 0) return false
    if (segment !== null) {
      const { model, reason } = segment
      const key = { completionId: id, segment: segment.segment }
      await tx.completionSegment.upsert({
        where: { completionId_segment: key },
        create: { ...key, model, reason, length: segment.text.length },
        update: { length: segment.text.length },
      })
    }
    await tx.completionChunk.deleteMany({ where: { completionId: id } })
    return true
  })
}

/** The columns that say how a completion ended, without its text. */
export function columnsOf(outcome: CompletionOutcome) {
  if (outcome.status !== 'SUCCEEDED') {
    const { status, code, message } = outcome
    return { status, errorCode: code, errorMessage: toStorable(message) }
  }
  const { status, answer } = outcome
  const { json, model, finishReason, cached, latencyMs, timeToFirstTokenMs } = answer
  const stored: unknown = json === null ? null : JSON.parse(storableJson(json))
  return {
    status,
    json: isJson(stored) ? stored : Prisma.DbNull,
    model,
    // The provider's own word.
    finishReason: toStorable(finishReason),
    cached,
    latencyMs,
    timeToFirstTokenMs,
  }
}

// It was parsed from JSON; null is what has no value.
function isJson(value: unknown): value is Prisma.InputJsonValue {
  return value !== null && value !== undefined
}

async function assembled(
  tx: Parameters<Parameters<Database['transaction']>[0]>[0],
  id: string,
): Promise<string | null> {
  const chunks = await tx.completionChunk.findMany({
    where: { completionId: id },
    orderBy: [{ segment: 'asc' }, { offset: 'asc' }],
  })
  const last = chunks.at(-1)?.segment
  if (last === undefined) return null
  return chunks
    .filter(({ segment }) => segment === last)
    .map(({ text }) => text)
    .join('')
}
