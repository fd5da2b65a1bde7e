import { z } from 'zod'
import { DependencyFailurePolicy, TaskEventType, TaskStatus } from '../../../generated/prisma/enums.ts'
import type { OutputDeltaRecord, TaskEventRecord, TaskMessage, TaskRow } from './task-messages.ts'

const date = z.string().pipe(z.coerce.date())
const nullableDate = date.nullable()
const nullableText = z.string().nullable()
const count = z.int().nonnegative()

const event: z.ZodType<TaskEventRecord> = z.object({
  taskId: z.string(),
  workspaceId: z.string(),
  seq: count,
  version: count,
  type: z.enum(TaskEventType),
  status: z.enum(TaskStatus),
  attempt: count,
  reason: nullableText,
  at: date,
})

const task: z.ZodType<TaskRow> = z.object({
  id: z.string(),
  workspaceId: z.string(),
  agentId: z.string(),
  createdById: nullableText,
  name: nullableText,
  priority: z.int(),
  status: z.enum(TaskStatus),
  reason: nullableText,
  version: count,
  onDependencyFailure: z.enum(DependencyFailurePolicy),
  dependencyCount: count,
  unmetDependencies: count,
  runAt: nullableDate,
  timeoutMs: count,
  maxAttempts: count,
  attempt: count,
  attemptsUsed: count,
  leaseToken: nullableText,
  leaseExpiresAt: nullableDate,
  leaseProcessId: nullableText,
  cancelRequestedAt: nullableDate,
  cancelReason: nullableText,
  errorCode: nullableText,
  errorMessage: nullableText,
  errorRetryable: z.boolean().nullable(),
  idempotencyKey: nullableText,
  scheduleId: nullableText,
  scheduledFor: nullableDate,
  createdAt: date,
  updatedAt: date,
  queuedAt: nullableDate,
  startedAt: nullableDate,
  finishedAt: nullableDate,
})

const delta: z.ZodType<OutputDeltaRecord> = z.object({
  taskId: z.string(),
  attempt: count,
  segment: count,
  offset: count,
  text: z.string(),
  model: nullableText,
  reason: nullableText,
})

const message: z.ZodType<TaskMessage> = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('event'),
    transition: z.object({ event, task, output: z.object({ segment: count, length: count }).nullable() }),
  }),
  z.object({ kind: z.literal('delta'), delta }),
])

/**
 * Reads what arrived on a task's or a workspace's topic. Null when it is none of ours: a process of another version may have published
 * it. The reader then turns to the rows.
 */
export function parseTaskMessage(json: unknown): TaskMessage | null {
  const parsed = message.safeParse(json)
  return parsed.success ? parsed.data : null
}
