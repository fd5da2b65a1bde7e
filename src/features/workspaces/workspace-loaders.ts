import { batchLoader, type BatchLoader } from '../../lib/batch-loader.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Database } from '../../platform/database/database.ts'
import type { Viewer } from '../accounts/viewer.ts'
import type { Usage, UsageTotals } from '../usage/usage.ts'
import { createFeedHeads, type FeedHeads } from './feed-heads.ts'
import { readWorkspaceStats, utcMidnight, type WorkspaceStats } from './workspace-stats.ts'

/** What of workspaces is read for many at once, each by one statement. */
export interface WorkspaceLoaders {
  workspaceStats: BatchLoader<string, WorkspaceStats>
  workspaceUsageToday: BatchLoader<string, UsageTotals>
  feedHeads: FeedHeads
}

export type WorkspaceLoadersDeps = { db: Database; clock: Clock; usage: Usage; viewer: Viewer | null }

export function createWorkspaceLoaders({ db, clock, usage, viewer }: WorkspaceLoadersDeps): WorkspaceLoaders {
  const midnight = (): Date => utcMidnight(clock.now())
  return {
    workspaceStats: batchLoader((ids) => readWorkspaceStats(db, ids, midnight())),
    workspaceUsageToday: batchLoader((ids) => usage.byWorkspace(ids, midnight())),
    feedHeads: createFeedHeads({ db, viewer }),
  }
}
