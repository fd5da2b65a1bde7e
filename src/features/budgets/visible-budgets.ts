import type { Database } from '../../platform/database/database.ts'
import type { Viewer } from '../accounts/viewer.ts'
import { workspacesOf } from '../workspaces/visible-workspaces.ts'

/** Those of the ids that are budgets of the viewer's workspaces. */
export async function visibleBudgetIds(db: Database, ids: string[], viewer: Viewer): Promise<string[]> {
  const where = { id: { in: ids }, workspace: workspacesOf(viewer) }
  const rows = await db.prisma.budget.findMany({ where, select: { id: true } })
  return rows.map(({ id }) => id)
}
