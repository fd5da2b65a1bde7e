import { newId } from '../../../src/lib/ids.ts'
import type { TaskEventRecord, TaskRow, TaskTransition } from '../../../src/features/tasks/streams/task-messages.ts'

const at = new Date('2026-11-23T12:00:00.000Z')

export function makeTask(overrides: Partial<TaskRow> = {}): TaskRow {
  return {
    id: newId(),
    workspaceId: newId(),
    agentId: newId(),
    createdById: null,
    name: null,
    priority: 0,
    status: 'QUEUED',
    reason: null,
    version: 1,
    onDependencyFailure: 'SKIP',
    dependencyCount: 0,
    unmetDependencies: 0,
    runAt: null,
    timeoutMs: 60_000,
    maxAttempts: 3,
    attempt: 0,
    attemptsUsed: 0,
    leaseToken: null,
    leaseExpiresAt: null,
    leaseProcessId: null,
    cancelRequestedAt: null,
    cancelReason: null,
    errorCode: null,
    errorMessage: null,
    errorRetryable: null,
    idempotencyKey: null,
    scheduleId: null,
    scheduledFor: null,
    createdAt: at,
    updatedAt: at,
    queuedAt: at,
    startedAt: null,
    finishedAt: null,
    ...overrides,
  }
}

export function makeEvent(task: TaskRow, overrides: Partial<TaskEventRecord> = {}): TaskEventRecord {
  return {
    taskId: task.id,
    workspaceId: task.workspaceId,
    seq: task.version,
    version: task.version,
    type: 'QUEUED',
    status: task.status,
    attempt: task.attempt,
    reason: null,
    at,
    ...overrides,
  }
}

export function makeTransition(task: TaskRow, output: TaskTransition['output'] = null): TaskTransition {
  return { event: makeEvent(task), task, output }
}

/** A generator of numbers in [0, 1) that gives the same ones for the same seed (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
