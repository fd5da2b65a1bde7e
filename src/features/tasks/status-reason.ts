import type { Task } from '../../generated/prisma/client.ts'
import type { AgentLoad } from './task-queries.ts'

export type Explained = Pick<
  Task,
  'status' | 'reason' | 'runAt' | 'unmetDependencies' | 'cancelRequestedAt' | 'cancelReason'
>

/** Says in words why a task is not running, or how it ended; null when there is nothing to say. */
export function statusReason(task: Explained, agent: AgentLoad | null): string | null {
  switch (task.status) {
    case 'BLOCKED':
      return task.reason ?? `It waits for ${count(task.unmetDependencies, 'other task')} to end.`
    case 'SCHEDULED':
      return scheduled(task)
    case 'QUEUED':
      return agent === null ? task.reason : queued(task, agent)
    case 'RUNNING':
      if (task.cancelRequestedAt === null) return null
      return task.cancelReason === null ? 'It is being cancelled.' : `It is being cancelled: ${task.cancelReason}`
    case 'SUCCEEDED':
    case 'FAILED':
    case 'CANCELLED':
    case 'SKIPPED':
      return task.reason
  }
}

function scheduled({ reason, runAt }: Explained): string | null {
  // It says until when by itself.
  if (runAt === null || reason?.startsWith('Limited until ') === true) return reason
  const until = `It is scheduled for ${runAt.toISOString()}.`
  return reason === null ? until : `${until} ${reason}`
}

function queued({ reason }: Explained, { status, running, concurrency }: AgentLoad): string {
  if (status === 'PAUSED') return 'Its agent is paused.'
  if (status === 'ARCHIVED') return 'Its agent is archived; it will be cancelled.'
  if (running >= concurrency) return `Its agent runs as many tasks at once as it may (${running}/${concurrency}).`
  return reason ?? 'It waits for a free worker.'
}

function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? '' : 's'}`
}
