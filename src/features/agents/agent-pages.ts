import type { Agent } from '../../generated/prisma/client.ts'
import { toPage, type Page, type PageRequest } from '../../lib/keyset-page.ts'
import type { Database, Statement } from '../../platform/database/database.ts'

// All of an Agent, so that its type's resolvers need nothing more.
const columns = `
  a.id, a.workspace_id AS "workspaceId", a.name, a.description, a.instructions, a.models, a.temperature,
  a.max_output_tokens AS "maxOutputTokens", a.output_schema AS "outputSchema", a.concurrency,
  a.requests_per_minute AS "requestsPerMinute", a.tokens_per_minute AS "tokensPerMinute", a.max_attempts AS "maxAttempts",
  a.retry_initial_delay_ms AS "retryInitialDelayMs", a.retry_max_delay_ms AS "retryMaxDelayMs", a.timeout_ms AS "timeoutMs",
  a.crash_policy AS "crashPolicy", a.status, a.state, a.state_version AS "stateVersion", a.version, a.created_at AS "createdAt",
  a.updated_at AS "updatedAt"`

/**
 * Reads one page of agents, newest first, for each of many workspaces, in one statement; answers in the order of `workspaceIds`.
 * By hand for the reason that task pages are.
 */
export async function readAgentPages(
  db: Database,
  workspaceIds: readonly string[],
  request: PageRequest,
): Promise<Page<Agent>[]> {
  const ids = [...new Set(workspaceIds)]
  const { backward, position, limit } = request
  const values = [ids, limit + 1, ...(position === null ? [] : [position.createdAt, position.id])]
  const rows = await db.query<Agent>(pageStatement({ backward, isFirst: position === null }), values, { retry: true })
  const pages = new Map(ids.map((id): [string, Agent[]] => [id, []]))
  for (const agent of rows) pages.get(agent.workspaceId)?.push(agent)
  return workspaceIds.map((id) => toPage(pages.get(id) ?? [], request))
}

function pageStatement({ backward, isFirst }: { backward: boolean; isFirst: boolean }): Statement {
  const direction = backward ? 'ASC' : 'DESC'
  const from = `AND (a.created_at, a.id) ${backward ? '>' : '<'} ($3::timestamptz, $4::uuid)`
  return {
    name: `agent_page_${backward ? 'back' : 'on'}${isFirst ? '' : '_from'}`,
    text: `
      SELECT page.* FROM unnest($1::uuid[]) AS workspace (id), LATERAL (
        SELECT ${columns} FROM agent a WHERE a.workspace_id = workspace.id ${isFirst ? '' : from}
         ORDER BY a.created_at ${direction}, a.id ${direction} LIMIT $2) AS page
       ORDER BY page."workspaceId", page."createdAt" ${direction}, page.id ${direction}`,
  }
}
