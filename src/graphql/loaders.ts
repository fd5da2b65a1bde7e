import type { AgentLoaders } from '../features/agents/agent-loaders.ts'
import type { BudgetLoaders } from '../features/budgets/budget-loaders.ts'
import type { ScheduleLoaders } from '../features/schedules/schedule-loaders.ts'
import type { TaskLoaders } from '../features/tasks/task-loaders.ts'
import type { UsageLoaders } from '../features/usage/usage-loaders.ts'
import type { WorkspaceLoaders } from '../features/workspaces/workspace-loaders.ts'

/** What of each feature is read for many objects at once, and that Prisma's relations do not batch. */
export interface Loaders
  extends AgentLoaders, BudgetLoaders, ScheduleLoaders, TaskLoaders, UsageLoaders, WorkspaceLoaders {}
