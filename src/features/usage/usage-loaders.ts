import type { Agent, User } from '../../generated/prisma/client.ts'
import { batchLoader, type BatchLoader } from '../../lib/batch-loader.ts'
import type { Database } from '../../platform/database/database.ts'
import { visibleUsers } from '../accounts/visible-rows.ts'
import type { Viewer } from '../accounts/viewer.ts'
import { workspacesOf } from '../workspaces/visible-workspaces.ts'

/** Whom the buckets of a usage report are about, each by one statement. */
export interface UsageLoaders {
  usageAgents: BatchLoader<string, Agent | null>
  usageUsers: BatchLoader<string, User | null>
}

export function createUsageLoaders({ db, viewer }: { db: Database; viewer: Viewer | null }): UsageLoaders {
  return {
    usageAgents: batchLoader(async (ids) => {
      if (viewer === null) return ids.map(() => null)
      const where = { id: { in: [...ids] }, workspace: workspacesOf(viewer) }
      return inOrder(ids, await db.prisma.agent.findMany({ where }))
    }),
    usageUsers: batchLoader(async (ids) => {
      if (viewer === null) return ids.map(() => null)
      return inOrder(ids, await db.prisma.user.findMany({ where: visibleUsers([...ids], viewer) }))
    }),
  }
}

function inOrder<Row extends { id: string }>(ids: readonly string[], rows: readonly Row[]): (Row | null)[] {
  const byId = new Map(rows.map((row) => [row.id, row]))
  return ids.map((id) => byId.get(id) ?? null)
}
