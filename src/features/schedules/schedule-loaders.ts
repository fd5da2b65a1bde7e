import type { Task } from '../../generated/prisma/client.ts'
import { batchLoader, type BatchLoader } from '../../lib/batch-loader.ts'
import type { Database, Statement } from '../../platform/database/database.ts'

/** What of schedules is read for many at once. */
export interface ScheduleLoaders {
  /** By schedule. */
  lastTask: BatchLoader<string, Task | null>
}

// One step in the index (schedule, due time) for each.
const lastTaskStatement: Statement = {
  name: 'schedule_last_task',
  text: `SELECT s.id AS "scheduleId", t.id AS "taskId" FROM unnest($1::uuid[]) AS s (id)
          CROSS JOIN LATERAL (
            SELECT id FROM task WHERE schedule_id = s.id AND scheduled_for IS NOT NULL ORDER BY scheduled_for DESC LIMIT 1) AS t`,
}

export function createScheduleLoaders({ db }: { db: Database }): ScheduleLoaders {
  return { lastTask: batchLoader((ids) => readLastTasks(db, ids)) }
}

async function readLastTasks(db: Database, scheduleIds: readonly string[]): Promise<(Task | null)[]> {
  const found = await db.query<{ scheduleId: string; taskId: string }>(lastTaskStatement, [scheduleIds], {
    retry: true,
  })
  const tasks = await db.prisma.task.findMany({ where: { id: { in: found.map(({ taskId }) => taskId) } } })
  const byId = new Map(tasks.map((task) => [task.id, task]))
  const bySchedule = new Map(found.map(({ scheduleId, taskId }) => [scheduleId, byId.get(taskId) ?? null]))
  return scheduleIds.map((id) => bySchedule.get(id) ?? null)
}
