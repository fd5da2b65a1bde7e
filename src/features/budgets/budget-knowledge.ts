import { LRUCache } from 'lru-cache'
import type { Clock } from '../../lib/clock.ts'
import { sleep } from '../../lib/sleep.ts'
import type { Database, Statement } from '../../platform/database/database.ts'

/**
 * Which workspaces have budgets, so that calls of all others cost no statement. What is known is trusted for `maxAgeMs` since it was asked
 * for, and whoever makes a budget waits as long before saying so: from then on no process relies on what was before.
 */
export interface BudgetKnowledge {
  /** Whether a budget may apply to calls of this workspace and agent. Throws ServiceUnavailableError when that cannot be found out. */
  mayApply(workspaceId: string, agentId: string | null): Promise<boolean>
  /** A budget of the workspace is new: resolves when every process knows, after `maxAgeMs` at the latest. */
  spread(workspaceId: string): Promise<void>
  /** Ends the waits of `spread`. */
  close(): void
}

export type BudgetKnowledgeDeps = {
  db: Database
  clock: Clock
  /** Default 1 000. */
  maxAgeMs?: number
}

type Known = { workspaceWide: boolean; agentIds: ReadonlySet<string>; sinceMs: number }

/** While the database is away nobody can make a budget either: what was known goes on for so long. */
const maxAgeInOutageMs = 60_000
const maxWorkspaces = 10_000

const readStatement: Statement = {
  name: 'budget_scopes',
  text: `SELECT coalesce(bool_or(agent_id IS NULL), false) AS "workspaceWide",
                coalesce(array_agg(DISTINCT agent_id) FILTER (WHERE agent_id IS NOT NULL), '{}') AS "agentIds"
           FROM budget WHERE workspace_id = $1`,
}

export function createBudgetKnowledge({ db, clock, maxAgeMs = 1_000 }: BudgetKnowledgeDeps): BudgetKnowledge {
  const known = new LRUCache<string, Known>({ max: maxWorkspaces })
  const reading = new Map<string, Promise<Known>>()
  const closing = new AbortController()

  async function read(workspaceId: string): Promise<Known> {
    // From before the question: the answer may be older than its arrival.
    const sinceMs = clock.monotonicMs()
    const [row] = await db.query<{ workspaceWide: boolean; agentIds: string[] }>(readStatement, [workspaceId])
    if (row === undefined) throw new Error('budget_scopes returned no row')
    const fresh = { workspaceWide: row.workspaceWide, agentIds: new Set(row.agentIds), sinceMs }
    known.set(workspaceId, fresh)
    return fresh
  }

  async function lookUp(workspaceId: string): Promise<Known> {
    const last = known.get(workspaceId)
    const ageMs = last === undefined ? Infinity : clock.monotonicMs() - last.sinceMs
    if (last !== undefined && ageMs < maxAgeMs) return last
    const question = reading.get(workspaceId) ?? read(workspaceId).finally(() => reading.delete(workspaceId))
    reading.set(workspaceId, question)
    try {
      return await question
    } catch (error) {
      if (last !== undefined && ageMs < maxAgeInOutageMs) return last
      throw error
    }
  }

  return {
    async mayApply(workspaceId, agentId) {
      const { workspaceWide, agentIds } = await lookUp(workspaceId)
      return workspaceWide || (agentId !== null && agentIds.has(agentId))
    },
    async spread(workspaceId) {
      // A question that is under way may bring an answer from before: it is waited for, then asked again.
      await reading.get(workspaceId)?.catch(() => undefined)
      known.delete(workspaceId)
      if (db.kind === 'embedded') return
      try {
        await sleep(maxAgeMs, closing.signal)
      } catch (error) {
        if (!closing.signal.aborted) throw error
      }
    },
    close() {
      closing.abort(new Error('the server is closing'))
    },
  }
}
