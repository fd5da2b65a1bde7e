import type { Task } from '../../generated/prisma/client.ts'
import type { Workers } from '../operations/process-registry.ts'
import type { AgentLoad } from './task-queries.ts'
import { maxCountedAhead, type Blockers } from './task-waits.ts'

export type Explained = Pick<
  Task,
  | 'status'
  | 'reason'
  | 'runAt'
  | 'unmetDependencies'
  | 'cancelRequestedAt'
  | 'cancelReason'
  | 'attemptsUsed'
  | 'maxAttempts'
  | 'errorMessage'
>

/** What the task's own row does not say. Only what its status asks for is read: for BLOCKED `blockers`, for QUEUED the others. */
export type Surroundings = {
  blockers: Blockers | null
  agent: AgentLoad | null
  workers: Workers | null
  /** How many tasks of its agent go first, counted up to `maxCountedAhead`. */
  ahead: number | null
}

/**
 * Says in words why a task is not running, or how it ended; null when there is nothing to say:
 *
 *   BLOCKED    which tasks it waits for
 *   SCHEDULED  for when, and why: a retry (which attempt, after what), a limit, or what the caller wanted
 *   QUEUED     the first that holds: its agent is paused, its agent has no room, no worker lives, none takes tasks, who goes first
 *   RUNNING    only when it is asked to stop
 */
export function statusReason(task: Explained, around: Surroundings): string | null {
  switch (task.status) {
    case 'BLOCKED':
      return blocked(task, around.blockers)
    case 'SCHEDULED':
      return scheduled(task)
    case 'QUEUED':
      return [queued(around), task.reason].filter((part) => part !== null).join(' ')
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

function blocked({ reason, unmetDependencies }: Explained, blockers: Blockers | null): string {
  if (blockers === null || blockers.names.length === 0) {
    return reason ?? `It waits for ${count(unmetDependencies, 'other task')} to end.`
  }
  const names = blockers.names.map((name) => `"${name}"`)
  const others = blockers.count - names.length
  const all = others > 0 ? [...names, `${others} more`] : names
  const last = all.at(-1) ?? ''
  return `It waits for ${all.length === 1 ? last : `${all.slice(0, -1).join(', ')} and ${last}`} to end.`
}

function scheduled({ reason, runAt, attemptsUsed, maxAttempts, errorMessage }: Explained): string | null {
  // A limit says until when by itself.
  if (runAt === null || reason?.startsWith('Limited until ') === true) return reason
  const at = runAt.toISOString()
  // An error that a task still has while it waits is that of the attempt before.
  if (errorMessage !== null && attemptsUsed > 0) {
    return `Attempt ${attemptsUsed + 1} of ${maxAttempts} begins at ${at}, because the last one failed: ${errorMessage}`
  }
  return reason === null ? `It is scheduled for ${at}.` : `It waits until ${at}. ${reason}`
}

function queued({ agent, workers, ahead }: Surroundings): string {
  if (agent?.status === 'PAUSED') return 'Its agent is paused.'
  if (agent?.status === 'ARCHIVED') return 'Its agent is archived; it will be cancelled.'
  if (agent !== null && agent.running >= agent.concurrency) {
    return `Its agent runs as many tasks at once as it may (${agent.running}/${agent.concurrency})${behind(ahead)}.`
  }
  if (workers?.alive === 0) return 'No worker is running.'
  if (workers?.claiming === 0) return 'No worker takes tasks now: each is short of memory or is being shut down.'
  return `It waits for a free worker${behind(ahead)}.`
}

function behind(ahead: number | null): string {
  if (ahead === null || ahead === 0) return ''
  if (ahead >= maxCountedAhead) return `, behind at least ${maxCountedAhead} other tasks of its agent`
  return `, behind ${count(ahead, 'other task')} of its agent`
}

function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? '' : 's'}`
}
