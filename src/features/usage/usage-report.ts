import { BadUserInputError } from '../../lib/errors.ts'
import type { Database, Statement } from '../../platform/database/database.ts'
import type { Viewer } from '../accounts/viewer.ts'
import type { WorkspaceAccess } from '../workspaces/access.ts'
import { noUsage, toTotals, usageSums, type UsageTotals } from './usage.ts'

export const usageGroups = ['MODEL', 'AGENT', 'USER', 'DAY', 'HOUR'] as const
export type UsageGroup = (typeof usageGroups)[number]

/** What one group has used. A field that the report is not grouped by is null; so is the agent of what no agent did. */
export type UsageBucket = {
  model: string | null
  agentId: string | null
  userId: string | null
  /** The UTC start of the day or hour. */
  start: Date | null
  /** How many calls: of models, and of the response cache. */
  requests: number
  usage: UsageTotals
}

export type UsageQuery = {
  /** The id of the row; default: the personal workspace. */
  workspaceId: string | null
  /** Included. */
  from: Date
  /** Excluded. */
  to: Date
  groupBy: readonly UsageGroup[]
}

/** What a workspace has spent, from the ledger. */
export interface UsageReports {
  /**
   * Groups in the order of time, then model, agent, user; without a group one bucket, with zeros when nothing was used. Days and hours are
   * UTC; of both the hour counts. Any member may read.
   *
   * Throws NotFoundError, and BadUserInputError for a range that is none or too long and for more groups than `maxUsageBuckets`.
   */
  read(viewer: Viewer, query: UsageQuery): Promise<UsageBucket[]>
}

export const maxUsageBuckets = 5_000
export const maxUsageDays = 400
/** With a bucket for every hour. */
export const maxUsageDaysByHour = 35

const dayMs = 24 * 60 * 60 * 1_000

// One statement for every combination: what is not grouped by is null in all rows. Each expression is named, because two that look the same
// are not the same to GROUP BY when they come from parameters. Read from the index (workspace_id, at).
const reportStatement: Statement = {
  name: 'usage_report',
  text: `
    SELECT model, agent_id AS "agentId", user_id AS "userId", start, count(*)::float8 AS requests, ${usageSums}
      FROM (SELECT CASE WHEN $4 THEN u.model END AS model,
                   CASE WHEN $5 THEN u.agent_id END AS agent_id,
                   CASE WHEN $6 THEN u.user_id END AS user_id,
                   CASE WHEN $7::text IS NOT NULL THEN date_trunc($7, u.at, 'UTC') END AS start,
                   input_tokens, cached_input_tokens, output_tokens, reasoning_tokens, estimated, cost_nano_usd, saved_nano_usd
              FROM usage_record u
             WHERE u.workspace_id = $1 AND u.at >= $2 AND u.at < $3) AS used
     GROUP BY model, agent_id, user_id, start
     ORDER BY start, model, agent_id, user_id
     LIMIT $8`,
}

type Row = Omit<UsageBucket, 'usage'> & Parameters<typeof toTotals>[0]

export function createUsageReports({ db, access }: { db: Database; access: WorkspaceAccess }): UsageReports {
  return {
    async read(viewer, { workspaceId: asked, from, to, groupBy }) {
      const workspaceId = await access.readableWorkspaceId(viewer, asked)
      const groups = new Set(groupBy)
      const unit = groups.has('HOUR') ? 'hour' : groups.has('DAY') ? 'day' : null
      checkRange(from, to, unit === 'hour' ? maxUsageDaysByHour : maxUsageDays)
      const by = [groups.has('MODEL'), groups.has('AGENT'), groups.has('USER'), unit]
      const rows = await db.query<Row>(reportStatement, [workspaceId, from, to, ...by, maxUsageBuckets + 1], {
        retry: true,
      })
      if (rows.length > maxUsageBuckets) throw tooMany()
      if (rows.length === 0 && groups.size === 0) return [nothing]
      return rows.map(toBucket)
    },
  }
}

function toBucket({ model, agentId, userId, start, requests, ...sums }: Row): UsageBucket {
  return { model, agentId, userId, start, requests, usage: toTotals(sums) }
}

const nothing: UsageBucket = { model: null, agentId: null, userId: null, start: null, requests: 0, usage: noUsage }

function checkRange(from: Date, to: Date, maxDays: number): void {
  if (to.getTime() <= from.getTime()) throw new BadUserInputError('to', 'to: must be after from')
  if (to.getTime() - from.getTime() <= maxDays * dayMs) return
  throw new BadUserInputError('to', `to: must be at most ${maxDays} days after from`, {
    suggestions: [`Ask for at most ${maxUsageDaysByHour} days by HOUR, ${maxUsageDays} days otherwise.`],
  })
}

function tooMany(): BadUserInputError {
  return new BadUserInputError('groupBy', `groupBy: gives more than ${maxUsageBuckets} groups`, {
    suggestions: ['Ask for a shorter range, or group by less.'],
  })
}
