import type { Prisma } from '../../generated/prisma/client.ts'
import { storableJson } from '../../lib/stored-text.ts'
import type { Database, Statement } from '../../platform/database/database.ts'
import { parseTransition } from '../tasks/engine/task-json.ts'
import type { TaskTransition } from '../tasks/streams/task-messages.ts'

/** The statements that make tasks of schedules. All times are the database's clock. */
export interface Firing {
  /** Schedules that are due, those first that have been for longest, with the time by which that was decided. */
  due(limit: number): Promise<DueSchedule[]>
  /**
   * Fires them in one transaction: each has its next due time and its task afterwards, or neither. What was decided from another version, or
   * is being fired by somebody else, is left alone.
   */
  fire(fires: readonly Fire[]): Promise<TaskTransition[]>
  /** Milliseconds until the next one is due (negative: overdue); null when there is none. */
  nextDueInMs(): Promise<number | null>
  /** Pauses what an archived agent was to do; safe to repeat. */
  pauseOfArchivedAgent(agentId: string): Promise<void>
}

export type DueSchedule = {
  id: string
  workspaceId: string
  agentId: string
  createdById: string | null
  name: string
  cron: string
  timeZone: string
  template: Prisma.JsonValue
  nextRunAt: Date
  version: number
  now: Date
}

export type Fire = {
  scheduleId: string
  version: number
} & ({ nextRunAt: Date; task: ScheduledTask } | { pauseReason: string })

export type ScheduledTask = {
  id: string
  workspaceId: string
  agentId: string
  createdById: string | null
  name: string
  prompt: string
  input: unknown
  priority: number
  maxAttempts: number | null
  timeoutMs: number | null
  scheduleId: string
  scheduledFor: Date
}

const dueStatement: Statement = {
  name: 'schedule_due',
  text: `SELECT id, workspace_id AS "workspaceId", agent_id AS "agentId", created_by_id AS "createdById", name, cron, time_zone AS "timeZone",
                template, next_run_at AS "nextRunAt", version, now() AS now
           FROM schedule WHERE NOT paused AND next_run_at <= now() ORDER BY next_run_at LIMIT $1`,
}
const fireStatement: Statement = { name: 'schedule_fire', text: 'SELECT schedule_fire($1) AS data' }
const nextDueStatement: Statement = {
  name: 'schedule_next_due',
  text: `SELECT extract(epoch FROM min(next_run_at) - clock_timestamp())::float8 * 1000 AS due_in_ms FROM schedule WHERE NOT paused`,
}
const pauseStatement: Statement = {
  name: 'schedule_pause_of_archived',
  text: `UPDATE schedule s SET paused = true, paused_reason = 'Its agent was archived.', next_run_at = NULL, version = s.version + 1,
                updated_at = clock_timestamp()
           FROM agent a WHERE s.agent_id = $1 AND a.id = s.agent_id AND a.status = 'ARCHIVED' AND NOT s.paused`,
}

export function createFiring({ db }: { db: Database }): Firing {
  return {
    due: (limit) => db.query<DueSchedule>(dueStatement, [limit], { retry: true }),
    async fire(fires) {
      // Repeated, it finds other versions; who did not hear of the transitions reads them.
      const rows = await db.query<{ data: unknown }>(fireStatement, [storableJson(fires.map(fireJson))], {
        retry: true,
      })
      return rows.map(({ data }) => parseTransition(data))
    },
    async nextDueInMs() {
      const [row] = await db.query<{ due_in_ms: number | null }>(nextDueStatement, [], { retry: true })
      return row?.due_in_ms ?? null
    },
    async pauseOfArchivedAgent(agentId) {
      await db.query(pauseStatement, [agentId], { retry: true })
    },
  }
}

function fireJson(fire: Fire): Record<string, unknown> {
  const { scheduleId: schedule_id, version } = fire
  if ('pauseReason' in fire) return { schedule_id, version, pause_reason: fire.pauseReason }
  return { schedule_id, version, next_run_at: fire.nextRunAt, task: taskJson(fire.task) }
}

// As task_create takes it.
function taskJson(task: ScheduledTask): Record<string, unknown> {
  return {
    id: task.id,
    workspace_id: task.workspaceId,
    agent_id: task.agentId,
    created_by_id: task.createdById,
    name: task.name,
    prompt: task.prompt,
    input: task.input ?? null,
    priority: task.priority,
    max_attempts: task.maxAttempts,
    timeout_ms: task.timeoutMs,
    schedule_id: task.scheduleId,
    scheduled_for: task.scheduledFor,
  }
}
