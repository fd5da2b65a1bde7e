import type { Agent } from '../../generated/prisma/client.ts'
import { batchLoader, batchLoadersBy, type BatchLoader } from '../../lib/batch-loader.ts'
import type { Page, PageRequest } from '../../lib/keyset-page.ts'
import type { Database } from '../../platform/database/database.ts'
import type { Usage, UsageTotals } from '../usage/usage.ts'
import { readAgentPages } from './agent-pages.ts'
import { readAgentStats, type AgentStats } from './agent-stats.ts'

/** What of agents is read for many at once, each by one statement. */
export interface AgentLoaders {
  agentUsage: BatchLoader<string, UsageTotals>
  agentStats: BatchLoader<string, AgentStats>
  /** By workspace. */
  agentPages(request: PageRequest): BatchLoader<string, Page<Agent>>
}

export function createAgentLoaders({ db, usage }: { db: Database; usage: Usage }): AgentLoaders {
  return {
    agentUsage: batchLoader((ids) => usage.byAgent(ids)),
    agentStats: batchLoader((ids) => readAgentStats(db, ids)),
    agentPages: batchLoadersBy((ids, request) => readAgentPages(db, ids, request)),
  }
}
