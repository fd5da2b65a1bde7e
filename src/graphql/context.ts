import type { AiClient } from '../ai/ai-client.ts'
import type { Accounts } from '../features/accounts/accounts.ts'
import type { ApiKeys } from '../features/accounts/api-keys.ts'
import type { UserAdministration } from '../features/accounts/user-administration.ts'
import type { CookieMode } from '../features/accounts/cookie-mode.ts'
import type { Viewer } from '../features/accounts/viewer.ts'
import type { AuditLog } from '../features/audit/audit-log.ts'
import type { Agents } from '../features/agents/agents.ts'
import type { Budgets } from '../features/budgets/budgets.ts'
import type { Completions } from '../features/completions/completions.ts'
import type { ProcessRegistry } from '../features/operations/process-registry.ts'
import type { Schedules } from '../features/schedules/schedules.ts'
import type { TaskStreams } from '../features/tasks/streams/task-stream.ts'
import type { BulkTasks } from '../features/tasks/bulk-tasks.ts'
import type { TaskRetries } from '../features/tasks/task-retries.ts'
import type { TaskGraphs } from '../features/tasks/task-graphs.ts'
import type { TaskPriorities } from '../features/tasks/task-priorities.ts'
import type { Tasks } from '../features/tasks/tasks.ts'
import type { WorkspaceFeeds } from '../features/tasks/streams/workspace-feed.ts'
import type { UsageReports } from '../features/usage/usage-report.ts'
import type { Usage } from '../features/usage/usage.ts'
import type { LiveAccess } from '../features/workspaces/live-access.ts'
import type { Members } from '../features/workspaces/members.ts'
import type { Workspaces } from '../features/workspaces/workspaces.ts'
import type { Clock } from '../lib/clock.ts'
import type { Database } from '../platform/database/database.ts'
import type { Logger } from '../platform/logger.ts'
import type { Loaders } from './loaders.ts'

/** What resolvers call. Each feature adds the line of its own service. */
export interface Services {
  db: Database
  clock: Clock
  logger: Logger
  accounts: Accounts
  apiKeys: ApiKeys
  userAdministration: UserAdministration
  auditLog: AuditLog
  workspaces: Workspaces
  members: Members
  /** Authorises live streams again when a membership changes. */
  liveAccess: LiveAccess
  agents: Agents
  tasks: Tasks
  schedules: Schedules
  taskGraphs: TaskGraphs
  taskPriorities: TaskPriorities
  taskRetries: TaskRetries
  bulkTasks: BulkTasks
  taskStreams: TaskStreams
  workspaceFeeds: WorkspaceFeeds
  completions: Completions
  budgets: Budgets
  usage: Usage
  models: Pick<AiClient, 'statuses'>
  processes: ProcessRegistry
  usageReports: UsageReports
}

/** What one GraphQL operation knows, the same over HTTP, Server-Sent Events and WebSocket. */
export type GraphQLContext = {
  /** Names the operation in logs and in every error. */
  requestId: string
  /** Who asks; null when no credentials came. */
  viewer: Viewer | null
  services: Services
  /** Batch and remember reads: for the life of a query or mutation, or of one event of a subscription. */
  loaders: Loaders
  client: Client
  /** Cookie mode; null over a WebSocket, which cannot set cookies. */
  cookies: CookieMode | null
  /** Aborted when nobody waits for the answer any more: the caller is gone, or the subscription is over. */
  signal: AbortSignal
}

/** Where the operation came from, for sessions and the audit log. */
export type Client = { ip: string; userAgent: string | null }
