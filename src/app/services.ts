import type { Config } from '../config.ts'
import { openAccessChanges } from '../features/accounts/access-changes.ts'
import { createAccounts } from '../features/accounts/accounts.ts'
import { createApiKeys } from '../features/accounts/api-keys.ts'
import { createAuthThrottle } from '../features/accounts/auth-throttle.ts'
import type { FirstAdminPolicy } from '../features/accounts/first-admin.ts'
import { createUserAdministration } from '../features/accounts/user-administration.ts'
import { createAgents } from '../features/agents/agents.ts'
import { createAuditLog } from '../features/audit/audit-log.ts'
import { createBudgets } from '../features/budgets/budgets.ts'
import { startCompletionHousekeeping } from '../features/completions/completion-housekeeping.ts'
import { createCompletionLeases } from '../features/completions/completion-leases.ts'
import { createCompletionPublisher } from '../features/completions/completion-messages.ts'
import { writeCompletionOutput } from '../features/completions/completion-output.ts'
import { createCompletionRecords } from '../features/completions/completion-records.ts'
import { createCompletionRuns } from '../features/completions/completion-runs.ts'
import { createCompletions } from '../features/completions/completions.ts'
import { createKeyedCompletions, type KeyedCompletions } from '../features/completions/keyed-completions.ts'
import { createSchedules } from '../features/schedules/schedules.ts'
import { createBulkTasks } from '../features/tasks/bulk-tasks.ts'
import { createOutputWriter } from '../features/tasks/output/output-writer.ts'
import { createTaskStreams } from '../features/tasks/streams/task-stream.ts'
import { createWorkspaceFeeds } from '../features/tasks/streams/workspace-feed.ts'
import { createTaskGraphs } from '../features/tasks/task-graphs.ts'
import { createTaskPriorities } from '../features/tasks/task-priorities.ts'
import { createTaskRetries } from '../features/tasks/task-retries.ts'
import { createTasks } from '../features/tasks/tasks.ts'
import { createLedger } from '../features/usage/ledger.ts'
import { createUsageReports } from '../features/usage/usage-report.ts'
import { createUsage } from '../features/usage/usage.ts'
import { createWorkspaceAccess } from '../features/workspaces/access.ts'
import { createLiveAccess } from '../features/workspaces/live-access.ts'
import { createMembers } from '../features/workspaces/members.ts'
import { createWorkspaces } from '../features/workspaces/workspaces.ts'
import type { Services } from '../graphql/context.ts'
import { loadOrCreateSecret } from '../platform/secret-file.ts'
import type { Basics } from './basics.ts'
import type { Platform } from './platform.ts'
import type { TaskEngine } from './task-engine.ts'

type ServicesOfFeatures = Omit<Services, 'processes'>

export async function createServices(
  basics: Basics,
  platform: Platform,
  engine: TaskEngine,
): Promise<ServicesOfFeatures> {
  const { config, clock, newId, random, logger, cleanup } = basics
  const { db, events, dispatch, ai } = platform
  const { promptBytes: maxPromptBytes } = config.limits
  const checks = {
    resolveModels: (models: readonly string[]) => void ai.resolve(models),
    compileOutputSchema: (schema: Record<string, unknown>) => void ai.compileOutputSchema(schema),
  }
  const changes = await openAccessChanges({ events, newId, logger })
  cleanup.add('changes of permissions', () => changes.close())
  const accounts = await createAccounts({
    changes,
    db,
    clock,
    newId,
    logger,
    secret: config.secret ?? (await loadOrCreateSecret(config.dataDir)),
    bcryptCost: config.bcryptCost,
    firstAdmin: firstAdminPolicy(config),
    throttle: createAuthThrottle(platform, {
      ...config.limits,
      exemptsLoopback: config.environment !== 'production',
    }),
    keyTimings: basics.keyTimings,
  })
  cleanup.add('accounts', () => accounts.close())
  const access = createWorkspaceAccess({ db })
  const liveAccess = createLiveAccess({ db, changes, logger })
  cleanup.add('live access', () => liveAccess.close())
  const keyed = createKeyed(basics, platform)
  const records = createCompletionRecords({ db, clock, logger, random })
  cleanup.add('the records of completions', () => records.close())
  const taskStreams = createTaskStreams({ db, events, clock, logger })
  cleanup.add('task streams', () => taskStreams.close())
  const workspaceFeeds = createWorkspaceFeeds({ db, events, clock, logger })
  cleanup.add('workspace feeds', () => workspaceFeeds.close())
  return {
    db,
    clock,
    logger,
    accounts,
    apiKeys: createApiKeys({ db, clock, newId, access, changes }),
    budgets: createBudgets({
      db,
      clock,
      newId,
      access,
      knowledge: platform.budgetKnowledge,
      onTasksDue: () => engine.reconciler.scheduled(),
    }),
    userAdministration: createUserAdministration({ db, clock, newId, changes }),
    auditLog: createAuditLog({ db }),
    usage: createUsage({ db }),
    usageReports: createUsageReports({ db, access }),
    models: ai,
    workspaces: createWorkspaces({ db, clock, newId, access }),
    members: createMembers({ db, clock, newId, access, changes }),
    liveAccess,
    agents: createAgents({
      ...checks,
      db,
      clock,
      newId,
      access,
      onAgentReady({ id: agentId, workspaceId }) {
        dispatch.hint(workspaceId).catch((error: unknown) => logger.warn({ err: error, agentId }, 'a hint was lost'))
      },
      async cancelWaitingTasks(agentId) {
        await engine.firing.pauseOfArchivedAgent(agentId)
        await engine.reconciler.reconcile()
      },
    }),
    taskRetries: createTaskRetries({ ...engine, db, access, clock, newId }),
    bulkTasks: createBulkTasks({ ...engine, db, access, events, clock, newId, logger }),
    taskGraphs: createTaskGraphs({ ...engine, db, access, newId, maxPromptBytes }),
    taskPriorities: createTaskPriorities({ ...engine, db, access, clock, newId }),
    tasks: createTasks({ ...engine, db, events, access, clock, newId, logger, maxPromptBytes }),
    schedules: createSchedules({
      db,
      access,
      clock,
      newId,
      maxPromptBytes,
      onChange: () => engine.scheduler.changed(),
    }),
    taskStreams,
    workspaceFeeds,
    completions: createCompletions({ ...checks, ai, keyed, records, access, clock, newId, maxPromptBytes }),
  }
}

function createKeyed(
  { config, completionTimings, clock, newId, random, logger, cleanup }: Basics,
  { db, events, ai }: Platform,
): KeyedCompletions {
  const publisher = createCompletionPublisher({ events, logger })
  const output = createOutputWriter({ db, write: writeCompletionOutput, publisher, logger, random })
  cleanup.add('the output of completions', () => output.close())
  const timings = completionTimings
  const leases = createCompletionLeases({ db, timings })
  const ledger = createLedger({ db })
  const runs = createCompletionRuns({ db, ai, leases, ledger, output, publisher, timings, clock, logger, random })
  const keyed = createKeyedCompletions({ db, events, leases, runs, clock, newId, logger })
  cleanup.add('completions with a key', () => keyed.close())
  const housekeeping = startCompletionHousekeeping({ db, logger, keptDays: config.completionsKeptDays })
  cleanup.add('the housekeeping of completions', () => housekeeping.stop())
  return keyed
}

function firstAdminPolicy({ environment, bootstrapToken }: Config): FirstAdminPolicy {
  return environment === 'production' ? { kind: 'token', token: bootstrapToken } : { kind: 'first-account' }
}
