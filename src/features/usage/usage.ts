import type { Database, Statement } from '../../platform/database/database.ts'

/** What a number of upstream calls have used, summed. */
export type UsageTotals = {
  inputTokens: number
  /** Part of inputTokens. */
  cachedInputTokens: number
  outputTokens: number
  /** Part of outputTokens. */
  reasoningTokens: number
  /** inputTokens + outputTokens. */
  totalTokens: number
  /** Whether a part of it is our estimate, because a provider gave no figures. */
  estimated: boolean
  /** Null when the price of any call is not known: a sum without it would look like the whole. */
  costUsd: number | null
  savedUsd: number
}

/** An attempt of a task, by its number. */
export type AttemptKey = { taskId: string; number: number }

/**
 * Reads the ledger. Each method sums a whole batch in one grouped statement and answers in the order of its keys; what has used
 * nothing has zeros.
 */
export interface Usage {
  byTask(taskIds: readonly string[]): Promise<UsageTotals[]>
  byAttempt(keys: readonly AttemptKey[]): Promise<UsageTotals[]>
  byAgent(agentIds: readonly string[]): Promise<UsageTotals[]>
  byCompletion(completionIds: readonly string[]): Promise<UsageTotals[]>
  /** From `since` on. */
  byWorkspace(workspaceIds: readonly string[], since: Date): Promise<UsageTotals[]>
}

export const noUsage: UsageTotals = {
  inputTokens: 0,
  cachedInputTokens: 0,
  outputTokens: 0,
  reasoningTokens: 0,
  totalTokens: 0,
  estimated: false,
  costUsd: 0,
  savedUsd: 0,
}

// Sums of int are bigint, and of bigint numeric, which pg hands out as text. As float8 they are exact up to 2^53, which is what
// a JSON number can say: 9 * 10^15 tokens, or 9 million dollars in nano-dollars.
/** The columns of UsageTotals, for a statement over usage_record. */
export const usageSums = `
  sum(input_tokens)::float8 AS "inputTokens",
  sum(cached_input_tokens)::float8 AS "cachedInputTokens",
  sum(output_tokens)::float8 AS "outputTokens",
  sum(reasoning_tokens)::float8 AS "reasoningTokens",
  bool_or(estimated) AS "estimated",
  CASE WHEN bool_and(cost_nano_usd IS NOT NULL) THEN sum(cost_nano_usd)::float8 END AS "costNanoUsd",
  sum(saved_nano_usd)::float8 AS "savedNanoUsd"`

const byTaskStatement: Statement = {
  name: 'usage_by_task',
  text: `SELECT task_id AS key, ${usageSums} FROM usage_record WHERE task_id = ANY ($1::uuid[]) GROUP BY task_id`,
}
const byAttemptStatement: Statement = {
  name: 'usage_by_attempt',
  text: `SELECT task_id || '/' || attempt_number AS key, ${usageSums}
           FROM usage_record JOIN unnest($1::uuid[], $2::int[]) AS k (task_id, attempt_number) USING (task_id, attempt_number)
          GROUP BY task_id, attempt_number`,
}
const byAgentStatement: Statement = {
  name: 'usage_by_agent',
  text: `SELECT agent_id AS key, ${usageSums} FROM usage_record WHERE agent_id = ANY ($1::uuid[]) GROUP BY agent_id`,
}
const byCompletionStatement: Statement = {
  name: 'usage_by_completion',
  text: `SELECT completion_id AS key, ${usageSums} FROM usage_record WHERE completion_id = ANY ($1::uuid[]) GROUP BY completion_id`,
}
const byWorkspaceStatement: Statement = {
  name: 'usage_by_workspace',
  text: `SELECT workspace_id AS key, ${usageSums} FROM usage_record
          WHERE workspace_id = ANY ($1::uuid[]) AND at >= $2 GROUP BY workspace_id`,
}

type Sums = Omit<UsageTotals, 'totalTokens' | 'costUsd' | 'savedUsd'> & {
  costNanoUsd: number | null
  savedNanoUsd: number
}

export function createUsage({ db }: { db: Database }): Usage {
  async function read(statement: Statement, values: readonly unknown[], keys: readonly string[]) {
    if (keys.length === 0) return []
    const rows = await db.query<Sums & { key: string }>(statement, values, { retry: true })
    const totals = new Map(rows.map(({ key, ...sums }) => [key, toTotals(sums)]))
    return keys.map((key) => totals.get(key) ?? noUsage)
  }

  return {
    byTask: (ids) => read(byTaskStatement, [distinct(ids)], ids),
    byAgent: (ids) => read(byAgentStatement, [distinct(ids)], ids),
    byCompletion: (ids) => read(byCompletionStatement, [distinct(ids)], ids),
    byWorkspace: (ids, since) => read(byWorkspaceStatement, [distinct(ids), since], ids),
    byAttempt(attempts) {
      const keys = attempts.map(({ taskId, number }) => `${taskId}/${number}`)
      // A key that is given twice must not be summed twice by the join.
      const unique = [...new Map(attempts.map((attempt, index) => [keys[index], attempt])).values()]
      const values = [unique.map(({ taskId }) => taskId), unique.map(({ number }) => number)]
      return read(byAttemptStatement, values, keys)
    },
  }
}

export function toTotals({ costNanoUsd, savedNanoUsd, ...tokens }: Sums): UsageTotals {
  return {
    ...tokens,
    totalTokens: tokens.inputTokens + tokens.outputTokens,
    costUsd: costNanoUsd === null ? null : costNanoUsd / 1e9,
    savedUsd: savedNanoUsd / 1e9,
  }
}

function distinct(ids: readonly string[]): string[] {
  return [...new Set(ids)]
}
