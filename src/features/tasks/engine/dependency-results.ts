import type { TaskStatus } from '../../../generated/prisma/client.ts'
import type { Database, Statement } from '../../../platform/database/database.ts'

/** How a task that another depends on has ended, as the other's prompt tells it. */
export type DependencyResult = {
  name: string | null
  status: TaskStatus
  /** The beginning of the text; null when there is none. */
  output: string | null
  /** How many characters (code points) the whole text has. */
  outputCharacters: number
  /** What went wrong, when it did not succeed. */
  reason: string | null
}

/** Reads what a task's dependencies have come to. */
export interface DependencyResults {
  /** In the order given at submit, each output cut to `maxCharacters` characters. One statement. */
  read(taskId: string, maxCharacters: number): Promise<DependencyResult[]>
}

// Cut here, so that a hundred long answers are not held in memory for the few that are shown of each.
const resultsStatement: Statement = {
  name: 'task_dependency_results',
  text: `SELECT p.name, p.status, left(c.output, $2::int) AS output, coalesce(char_length(c.output), 0) AS "outputCharacters",
                CASE WHEN p.status <> 'SUCCEEDED' THEN coalesce(p.error_message, p.reason) END AS reason
           FROM task_dependency d JOIN task p ON p.id = d.depends_on_id JOIN task_content c ON c.task_id = p.id
          WHERE d.task_id = $1 ORDER BY d.position`,
}

export function createDependencyResults({ db }: { db: Database }): DependencyResults {
  return { read: (taskId, maxCharacters) => db.query(resultsStatement, [taskId, maxCharacters], { retry: true }) }
}
