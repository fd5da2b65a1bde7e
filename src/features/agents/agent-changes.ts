import type { Transaction } from '../../platform/database/database.ts'
import type { AgentChanges } from './agent-definition.ts'

export type AgentChange = {
  changes: AgentChanges
  /** The version that the caller has seen; null when it does not matter. */
  expectedVersion: number | null
  now: Date
}

/**
 * Changes an agent in one statement: a field that `changes` has replaces what is there, null included; the rest stays. Returns
 * whether it was changed. It is not when the agent is archived, has another version than `expectedVersion`, or would get a
 * longest delay below its first.
 *
 * One statement, because under READ COMMITTED its conditions and new values are computed from the row as another transaction
 * left it, where something read before it could be stale. `version` rises when the definition differs afterwards;
 * `state_version` with every write of the state, an equal one too: it says that somebody wrote.
 */
export async function changeAgent(
  tx: Transaction,
  agentId: string,
  { changes, expectedVersion, now }: AgentChange,
): Promise<boolean> {
  const { initialDelayMs, maxDelayMs } = changes.retryPolicy ?? {}
  const changed = await tx.$executeRaw`
    UPDATE agent AS a
       SET (name, description, instructions, models, temperature, max_output_tokens, output_schema, concurrency,
            requests_per_minute, tokens_per_minute, max_attempts, retry_initial_delay_ms, retry_max_delay_ms, timeout_ms,
            crash_policy, state, state_version, version, updated_at) =
           (SELECT n.name, n.description, n.instructions, n.models, n.temperature, n.max_output_tokens, n.output_schema,
                   n.concurrency, n.requests_per_minute, n.tokens_per_minute, n.max_attempts, n.retry_initial_delay_ms,
                   n.retry_max_delay_ms, n.timeout_ms, n.crash_policy, n.state,
                   a.state_version + ('state' IN (SELECT jsonb_object_keys(p.patch)))::int,
                   a.version + ((n.name, n.description, n.instructions, n.models, n.temperature, n.max_output_tokens,
                                 n.output_schema, n.concurrency, n.requests_per_minute, n.tokens_per_minute,
                                 n.max_attempts, n.retry_initial_delay_ms, n.retry_max_delay_ms, n.timeout_ms,
                                 n.crash_policy)
                                IS DISTINCT FROM
                                (a.name, a.description, a.instructions, a.models, a.temperature, a.max_output_tokens,
                                 a.output_schema, a.concurrency, a.requests_per_minute, a.tokens_per_minute,
                                 a.max_attempts, a.retry_initial_delay_ms, a.retry_max_delay_ms, a.timeout_ms,
                                 a.crash_policy))::int,
                   ${now}::timestamptz
              FROM (SELECT ${JSON.stringify(toColumns(changes))}::jsonb AS patch) AS p,
                   LATERAL jsonb_populate_record(a, p.patch) AS n)
     WHERE a.id = ${agentId}::uuid
       AND a.status <> 'ARCHIVED'
       AND (${expectedVersion}::int IS NULL OR a.version = ${expectedVersion}::int)
       AND coalesce(${maxDelayMs ?? null}::int, a.retry_max_delay_ms)
           >= coalesce(${initialDelayMs ?? null}::int, a.retry_initial_delay_ms)`
  return changed === 1
}

// JSON.stringify leaves out what is undefined, and `jsonb_populate_record` keeps the columns that are left out.
function toColumns({
  retryPolicy,
  rateLimit,
  maxOutputTokens,
  outputSchema,
  timeoutMs,
  crashPolicy,
  ...same
}: AgentChanges) {
  return {
    ...same,
    max_output_tokens: maxOutputTokens,
    output_schema: outputSchema,
    requests_per_minute: rateLimit?.requestsPerMinute,
    tokens_per_minute: rateLimit?.tokensPerMinute,
    timeout_ms: timeoutMs,
    crash_policy: crashPolicy,
    max_attempts: retryPolicy?.maxAttempts,
    retry_initial_delay_ms: retryPolicy?.initialDelayMs,
    retry_max_delay_ms: retryPolicy?.maxDelayMs,
  }
}
