import type { TokenUsage, UpstreamAttempt } from '../../ai/model-call.ts'
import { storableJson } from '../../lib/stored-text.ts'
import type { Database, Statement, Transaction } from '../../platform/database/database.ts'

/** One upstream call for the ledger; `usage` is null when nothing was spent. */
export type RecordedCall = {
  id: string
  workspaceId: string
  agentId: string | null
  userId: string | null
  taskId: string | null
  attemptNumber: number | null
  completionId: string | null
  model: string
  modelVersion: string | null
  outcome: string
  status: number | null
  message: string | null
  durationMs: number
  requestId: string | null
  at: Date
  usage: TokenUsage | null
}

/** The ledger of upstream calls: append-only, keyed by the call's id, safe to write twice, never fenced: the money was spent. */
export interface Ledger {
  record(calls: readonly RecordedCall[]): Promise<void>
}

const recordStatement: Statement = { name: 'record_model_calls', text: 'SELECT record_model_calls($1)' }

export function createLedger({ db }: { db: Database }): Ledger {
  return {
    async record(calls) {
      if (calls.length > 0) await db.query(recordStatement, [storableJson(calls.map(callJson))], { retry: true })
    },
  }
}

/** The same inside a transaction, for what must be written together with something else. */
export async function recordCalls(tx: Transaction, calls: readonly RecordedCall[]): Promise<void> {
  await tx.$queryRaw`SELECT record_model_calls(${storableJson(calls.map(callJson))}::jsonb)::text`
}

/** Whom an upstream call was made for. */
export type CallOwner = Pick<
  RecordedCall,
  'workspaceId' | 'agentId' | 'userId' | 'taskId' | 'attemptNumber' | 'completionId'
>

/** An upstream attempt as the ledger keeps it. */
export function recordedCall(attempt: UpstreamAttempt, owner: CallOwner): RecordedCall {
  const { id, model, modelVersion, outcome, status, message, durationMs, requestId, at, usage } = attempt
  return { ...owner, id, model, modelVersion, outcome, status, message, durationMs, requestId, at, usage }
}

/** A call as the SQL function `record_model_calls` reads it. */
export function callJson(call: RecordedCall): Record<string, unknown> {
  return {
    id: call.id,
    workspace_id: call.workspaceId,
    agent_id: call.agentId,
    user_id: call.userId,
    task_id: call.taskId,
    attempt_number: call.attemptNumber,
    completion_id: call.completionId,
    model: call.model,
    model_version: call.modelVersion,
    outcome: call.outcome,
    status: call.status,
    message: call.message,
    duration_ms: call.durationMs,
    request_id: call.requestId,
    at: call.at,
    ...(call.usage !== null && {
      input_tokens: call.usage.inputTokens,
      cached_input_tokens: call.usage.cachedInputTokens,
      output_tokens: call.usage.outputTokens,
      reasoning_tokens: call.usage.reasoningTokens,
      estimated: call.usage.estimated,
      // A string, because JSON numbers end at 2^53 and money does not.
      cost_nano_usd: call.usage.costNanoUsd?.toString() ?? null,
      saved_nano_usd: call.usage.savedNanoUsd?.toString() ?? null,
    }),
  }
}
