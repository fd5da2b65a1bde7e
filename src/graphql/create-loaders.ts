import type { Viewer } from '../features/accounts/viewer.ts'
import { createAgentLoaders } from '../features/agents/agent-loaders.ts'
import { createBudgetLoaders } from '../features/budgets/budget-loaders.ts'
import { createScheduleLoaders } from '../features/schedules/schedule-loaders.ts'
import { createTaskLoaders } from '../features/tasks/task-loaders.ts'
import { createUsageLoaders } from '../features/usage/usage-loaders.ts'
import { createWorkspaceLoaders } from '../features/workspaces/workspace-loaders.ts'
import type { Services } from './context.ts'
import type { Loaders } from './loaders.ts'

/** The loaders of one operation: what they remember must not outlive it. */
export function createLoaders({ db, clock, usage }: Services, viewer: Viewer | null): Loaders {
  return {
    ...createAgentLoaders({ db, usage }),
    ...createBudgetLoaders({ db }),
    ...createScheduleLoaders({ db }),
    ...createTaskLoaders({ db, usage }),
    ...createUsageLoaders({ db, viewer }),
    ...createWorkspaceLoaders({ db, clock, usage, viewer }),
  }
}
