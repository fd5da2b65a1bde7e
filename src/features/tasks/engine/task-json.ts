import { z } from 'zod'
import type { TaskRow, TaskTransition } from '../streams/task-messages.ts'

/** What one run needs to know, as it was when the task was claimed. */
export type ClaimedRun = {
  task: TaskRow
  leaseToken: string
  prompt: string
  input: unknown
  agent: {
    id: string
    name: string
    version: number
    instructions: string
    models: readonly string[]
    temperature: number | null
    maxOutputTokens: number | null
    outputSchema: Readonly<Record<string, unknown>> | null
    state: Readonly<Record<string, unknown>>
    stateVersion: number
    requestsPerMinute: number | null
    tokensPerMinute: number | null
    retryInitialDelayMs: number
    retryMaxDelayMs: number
  }
  /** The number of the task's latest output segment; 0: none. */
  lastSegment: number
}

const date = z.string().transform((text) => new Date(text))
const nullableDate = date.nullable()
const nullableText = z.string().nullable()

const status = z.enum(['BLOCKED', 'SCHEDULED', 'QUEUED', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED', 'SKIPPED'])
const eventType = z.enum([
  'CREATED',
  'QUEUED',
  'SCHEDULED',
  'STARTED',
  'RELEASED',
  'RETRY_SCHEDULED',
  'PRIORITY_CHANGED',
  'CANCEL_REQUESTED',
  'SUCCEEDED',
  'FAILED',
  'CANCELLED',
  'SKIPPED',
  'REVIVED',
])

const task = z
  .object({
    id: z.string(),
    workspace_id: z.string(),
    agent_id: z.string(),
    created_by_id: nullableText,
    name: nullableText,
    priority: z.number(),
    status,
    reason: nullableText,
    version: z.number(),
    on_dependency_failure: z.enum(['SKIP', 'CANCEL', 'RUN']),
    dependency_count: z.number(),
    unmet_dependencies: z.number(),
    run_at: nullableDate,
    timeout_ms: z.number(),
    max_attempts: z.number(),
    attempt: z.number(),
    attempts_used: z.number(),
    lease_token: nullableText,
    lease_expires_at: nullableDate,
    lease_process_id: nullableText,
    cancel_requested_at: nullableDate,
    cancel_reason: nullableText,
    error_code: nullableText,
    error_message: nullableText,
    error_retryable: z.boolean().nullable(),
    idempotency_key: nullableText,
    schedule_id: nullableText,
    scheduled_for: nullableDate,
    created_at: date,
    updated_at: date,
    queued_at: nullableDate,
    started_at: nullableDate,
    finished_at: nullableDate,
  })
  .transform((row): TaskRow => ({
    id: row.id,
    workspaceId: row.workspace_id,
    agentId: row.agent_id,
    createdById: row.created_by_id,
    name: row.name,
    priority: row.priority,
    status: row.status,
    reason: row.reason,
    version: row.version,
    onDependencyFailure: row.on_dependency_failure,
    dependencyCount: row.dependency_count,
    unmetDependencies: row.unmet_dependencies,
    runAt: row.run_at,
    timeoutMs: row.timeout_ms,
    maxAttempts: row.max_attempts,
    attempt: row.attempt,
    attemptsUsed: row.attempts_used,
    leaseToken: row.lease_token,
    leaseExpiresAt: row.lease_expires_at,
    leaseProcessId: row.lease_process_id,
    cancelRequestedAt: row.cancel_requested_at,
    cancelReason: row.cancel_reason,
    errorCode: row.error_code,
    errorMessage: row.error_message,
    errorRetryable: row.error_retryable,
    idempotencyKey: row.idempotency_key,
    scheduleId: row.schedule_id,
    scheduledFor: row.scheduled_for,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    queuedAt: row.queued_at,
    startedAt: row.started_at,
    finishedAt: row.finished_at,
  }))

const transition = z
  .object({
    event: z.object({
      task_id: z.string(),
      workspace_id: z.string(),
      seq: z.number(),
      version: z.number(),
      type: eventType,
      status,
      attempt: z.number(),
      reason: nullableText,
      at: date,
    }),
    task,
    output: z.object({ segment: z.number(), length: z.number() }).nullable(),
  })
  .transform(({ event, task: row, output }): TaskTransition => ({
    event: {
      taskId: event.task_id,
      workspaceId: event.workspace_id,
      seq: event.seq,
      version: event.version,
      type: event.type,
      status: event.status,
      attempt: event.attempt,
      reason: event.reason,
      at: event.at,
    },
    task: row,
    output,
  }))

const claimedRun = z
  .object({
    task,
    prompt: z.string(),
    input: z.unknown(),
    agent: z.object({
      id: z.string(),
      name: z.string(),
      version: z.number(),
      instructions: z.string(),
      models: z.array(z.string()),
      temperature: z.number().nullable(),
      max_output_tokens: z.number().nullable(),
      output_schema: z.record(z.string(), z.unknown()).nullable(),
      state: z.record(z.string(), z.unknown()),
      state_version: z.number(),
      requests_per_minute: z.number().nullable(),
      tokens_per_minute: z.number().nullable(),
      retry_initial_delay_ms: z.number(),
      retry_max_delay_ms: z.number(),
    }),
    last_segment: z.number(),
  })
  .transform((run, context): ClaimedRun => {
    if (run.task.leaseToken === null) {
      context.addIssue('a claimed task has a lease')
      return z.NEVER
    }
    return {
      task: run.task,
      leaseToken: run.task.leaseToken,
      prompt: run.prompt,
      input: run.input ?? null,
      agent: {
        id: run.agent.id,
        name: run.agent.name,
        version: run.agent.version,
        instructions: run.agent.instructions,
        models: run.agent.models,
        temperature: run.agent.temperature,
        maxOutputTokens: run.agent.max_output_tokens,
        outputSchema: run.agent.output_schema,
        state: run.agent.state,
        stateVersion: run.agent.state_version,
        requestsPerMinute: run.agent.requests_per_minute,
        tokensPerMinute: run.agent.tokens_per_minute,
        retryInitialDelayMs: run.agent.retry_initial_delay_ms,
        retryMaxDelayMs: run.agent.retry_max_delay_ms,
      },
      lastSegment: run.last_segment,
    }
  })

/** Reads a task as `task_json` returns it. @throws ZodError when the function and the program disagree: a bug. */
export function parseTask(json: unknown): TaskRow {
  return task.parse(json)
}

/** Reads a transition as the SQL functions return it. @throws ZodError when the functions and the program disagree: a bug. */
export function parseTransition(json: unknown): TaskTransition {
  return transition.parse(json)
}

/** Reads a claimed run as `task_step` returns it. @throws ZodError when the functions and the program disagree: a bug. */
export function parseClaimedRun(json: unknown): ClaimedRun {
  return claimedRun.parse(json)
}
