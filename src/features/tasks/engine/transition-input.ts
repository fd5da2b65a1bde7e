import type { DependencyFailurePolicy } from '../../../generated/prisma/client.ts'
import type { RecordedCall } from '../../usage/ledger.ts'
import type { EndedAttemptStatus } from '../streams/task-messages.ts'

/*
 * What transitions are made of: what their caller says, and how the SQL functions (prisma/migrations) read it.
 */

export type NewTask = {
  id: string
  workspaceId: string
  agentId: string
  createdById: string | null
  name: string | null
  prompt: string
  input: unknown
  priority: number
  runAt: Date | null
  maxAttempts: number | null
  timeoutMs: number | null
  idempotencyKey: string | null
  /** Hexadecimal. */
  idempotencyHash: string | null
  /** Ids of tasks of the same workspace, each once, in the caller's order. */
  dependsOn: readonly string[]
  onDependencyFailure: DependencyFailurePolicy
  scheduleId: string | null
  /** The due time of the schedule that it answers. */
  scheduledFor: Date | null
}

/** What a graph is found by again; the hash is hexadecimal. */
export type NewGraphKey = { id: string; workspaceId: string; idempotencyKey: string; idempotencyHash: string }

export type Lease = { taskId: string; leaseToken: string }

/** Replaces an agent's state while `version` is its version. When it is not, the task's reason says so; the end counts all the same. */
export type AgentStateWrite = { state: Readonly<Record<string, unknown>>; version: number }

export type RunError = { code: string; message: string; retryable: boolean }

/** How a run ended. RETRY becomes FAILED when that was the last attempt; LIMITED is for `postpone`, all others are for `step`. */
export type RunEnd = Lease & {
  outcome: Exclude<EndedAttemptStatus, 'LOST'> | 'RETRY' | 'LIMITED'
  reason: string | null
  /** For RETRY and LIMITED. */
  retryDelayMs: number | null
  error: RunError | null
  output: { segment: number; model: string; reason: string | null; text: string } | null
  outputJson: unknown
  /** With SUCCEEDED only. */
  agentState?: AgentStateWrite | null
  model: string | null
  timeToFirstTokenMs: number | null
  calls: readonly RecordedCall[]
}

/**
 * A wish for tasks of a workspace: at most one under each token, of the agents that run fewest. `again`: it was made before and its answer
 * did not come, so what is running under its tokens is its answer.
 */
export type Wish = { workspaceId: string; leaseTokens: readonly string[]; again: boolean }

export function graphKeyJson(key: NewGraphKey): Record<string, unknown> {
  return {
    id: key.id,
    workspace_id: key.workspaceId,
    idempotency_key: key.idempotencyKey,
    idempotency_hash: key.idempotencyHash,
  }
}

export function newTaskJson(task: NewTask): Record<string, unknown> {
  return {
    id: task.id,
    workspace_id: task.workspaceId,
    agent_id: task.agentId,
    created_by_id: task.createdById,
    name: task.name,
    prompt: task.prompt,
    input: task.input,
    priority: task.priority,
    run_at: task.runAt,
    max_attempts: task.maxAttempts,
    timeout_ms: task.timeoutMs,
    idempotency_key: task.idempotencyKey,
    idempotency_hash: task.idempotencyHash,
    depends_on: task.dependsOn,
    on_dependency_failure: task.onDependencyFailure,
    schedule_id: task.scheduleId,
    scheduled_for: task.scheduledFor,
  }
}

export function wishJson({ workspaceId, leaseTokens, again }: Wish): Record<string, unknown> {
  return { workspace_id: workspaceId, lease_tokens: leaseTokens, ...(again && { again }) }
}

export function endJson(end: RunEnd): Record<string, unknown> {
  return {
    task_id: end.taskId,
    lease_token: end.leaseToken,
    // Given back all the same, when it could not be postponed.
    outcome: end.outcome === 'LIMITED' ? 'RELEASED' : end.outcome,
    reason: end.reason,
    retry_delay_ms: end.retryDelayMs,
    error_code: end.error?.code ?? null,
    error_message: end.error?.message ?? null,
    error_retryable: end.error?.retryable ?? null,
    output: end.output === null ? null : { ...end.output, length: end.output.text.length },
    output_json: end.outputJson ?? null,
    ...(end.agentState != null && { agent_state: end.agentState.state, agent_state_version: end.agentState.version }),
    model: end.model,
    time_to_first_token_ms: end.timeToFirstTokenMs,
  }
}

export function postponedJson(end: RunEnd): Record<string, unknown> {
  return {
    task_id: end.taskId,
    lease_token: end.leaseToken,
    reason: end.reason,
    delay_ms: end.retryDelayMs ?? 0,
    error_code: end.error?.code ?? null,
    error_message: end.error?.message ?? null,
    model: end.model,
  }
}
