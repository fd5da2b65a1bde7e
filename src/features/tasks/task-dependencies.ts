import type { Task } from '../../generated/prisma/client.ts'
import { toPage, type Page, type PageRequest } from '../../lib/keyset-page.ts'
import type { Database, Statement } from '../../platform/database/database.ts'
import { taskColumns } from './task-pages.ts'

const dependenciesStatement: Statement = {
  name: 'task_dependencies',
  text: `SELECT d.task_id AS "dependentId", ${taskColumns} FROM task_dependency d JOIN task t ON t.id = d.depends_on_id
          WHERE d.task_id = ANY ($1::uuid[]) ORDER BY d.task_id, d.position`,
}

/** What tasks depend on, in the order given at submit. One statement, answers in the order of `taskIds`. */
export async function readDependencies(db: Database, taskIds: readonly string[]): Promise<Task[][]> {
  const ids = [...new Set(taskIds)]
  const rows = await db.query<Task & { dependentId: string }>(dependenciesStatement, [ids], { retry: true })
  const dependencies = new Map(ids.map((id): [string, Task[]] => [id, []]))
  for (const { dependentId, ...task } of rows) dependencies.get(dependentId)?.push(task)
  return taskIds.map((id) => dependencies.get(id) ?? [])
}

/**
 * One page of those that depend on each task, the newest first. Ids rise with the time, so the page comes from the index, however many
 * there are. One statement, answers in the order of `taskIds`.
 */
export async function readDependentPages(
  db: Database,
  taskIds: readonly string[],
  request: PageRequest,
): Promise<Page<Task>[]> {
  const { backward, position, limit } = request
  const ids = [...new Set(taskIds)]
  const [direction, beyond] = backward ? ['ASC', '>'] : ['DESC', '<']
  const from = position === null ? '' : `AND d.task_id ${beyond} $3::uuid`
  const text = `
    SELECT owner.id AS "dependencyId", page.* FROM unnest($1::uuid[]) AS owner (id), LATERAL (
             SELECT ${taskColumns} FROM task_dependency d JOIN task t ON t.id = d.task_id
              WHERE d.depends_on_id = owner.id ${from} ORDER BY d.task_id ${direction} LIMIT $2) AS page
     ORDER BY owner.id, page.id ${direction}`
  const name = `task_dependents_${direction}_${position === null ? 'first' : 'from'}`
  const values = position === null ? [ids, limit + 1] : [ids, limit + 1, position.id]
  const rows = await db.query<Task & { dependencyId: string }>({ name, text }, values, { retry: true })
  const pages = new Map(ids.map((id): [string, Task[]] => [id, []]))
  for (const { dependencyId, ...task } of rows) pages.get(dependencyId)?.push(task)
  return taskIds.map((id) => toPage(pages.get(id) ?? [], request))
}
