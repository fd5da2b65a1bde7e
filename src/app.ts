import { createAiClient, type AiClient } from './ai/ai-client.ts'
import type { Config } from './config.ts'
import { openAccessChanges } from './features/accounts/access-changes.ts'
import { createApiKeys } from './features/accounts/api-keys.ts'
import { createAccounts } from './features/accounts/accounts.ts'
import { createAuthThrottle } from './features/accounts/auth-throttle.ts'
import type { FirstAdminPolicy } from './features/accounts/first-admin.ts'
import { defaultKeyTimings, type KeyTimings } from './features/accounts/key-rotation.ts'
import { createUserAdministration } from './features/accounts/user-administration.ts'
import { createAgents } from './features/agents/agents.ts'
import { createBudgetGate } from './features/budgets/budget-gate.ts'
import { startBudgetHousekeeping } from './features/budgets/budget-housekeeping.ts'
import { createBudgetKnowledge, type BudgetKnowledge } from './features/budgets/budget-knowledge.ts'
import { createBudgetStore } from './features/budgets/budget-store.ts'
import { createBudgets } from './features/budgets/budgets.ts'
import { createAuditLog } from './features/audit/audit-log.ts'
import {
  createCompletionLeases,
  defaultCompletionTimings,
  type CompletionTimings,
} from './features/completions/completion-leases.ts'
import { createCompletionPublisher } from './features/completions/completion-messages.ts'
import { writeCompletionOutput } from './features/completions/completion-output.ts'
import { createCompletionRuns } from './features/completions/completion-runs.ts'
import { createCompletions } from './features/completions/completions.ts'
import { createMemoryAlert } from './features/operations/memory-alert.ts'
import { startMemoryGuard, type MemoryGuard } from './features/operations/memory-guard.ts'
import { aliveMs, createProcessRegistry, type ProcessRegistry } from './features/operations/process-registry.ts'
import { createFiring, type Firing } from './features/schedules/firing.ts'
import { createScheduler, type Scheduler } from './features/schedules/scheduler.ts'
import { createSchedules } from './features/schedules/schedules.ts'
import { createKeyedCompletions, type KeyedCompletions } from './features/completions/keyed-completions.ts'
import { createAnnouncer, type Announcer } from './features/tasks/engine/announcer.ts'
import { createDependencyResults } from './features/tasks/engine/dependency-results.ts'
import { createOutputWriter } from './features/tasks/output/output-writer.ts'
import { createLimitQueue } from './features/tasks/engine/limit-queue.ts'
import { createReconciler, type Reconciler } from './features/tasks/engine/reconciler.ts'
import { createStepBatcher } from './features/tasks/engine/step-batcher.ts'
import { createTaskPublisher, type TaskPublisher } from './features/tasks/streams/task-publisher.ts'
import { createTaskStreams } from './features/tasks/streams/task-stream.ts'
import { createBulkTasks } from './features/tasks/bulk-tasks.ts'
import { createTaskRetries } from './features/tasks/task-retries.ts'
import { createTaskGraphs } from './features/tasks/task-graphs.ts'
import { createTaskPriorities } from './features/tasks/task-priorities.ts'
import { createTasks } from './features/tasks/tasks.ts'
import { createTransitions, type Transitions } from './features/tasks/engine/transitions.ts'
import { startWorker, type Worker } from './features/tasks/engine/worker.ts'
import { createWorkspaceFeeds } from './features/tasks/streams/workspace-feed.ts'
import { createLedger } from './features/usage/ledger.ts'
import { createUsageReports } from './features/usage/usage-report.ts'
import { createUsage } from './features/usage/usage.ts'
import { createWorkspaceAccess } from './features/workspaces/access.ts'
import { createLiveAccess } from './features/workspaces/live-access.ts'
import { createMembers } from './features/workspaces/members.ts'
import { createWorkspaces } from './features/workspaces/workspaces.ts'
import type { Services } from './graphql/context.ts'
import { createCleanup, type Cleanup } from './lib/cleanup.ts'
import { systemClock, type Clock } from './lib/clock.ts'
import { newId as newUuid, type NewId } from './lib/ids.ts'
import { sleep } from './lib/sleep.ts'
import { figuresWindowMs } from './ai/model-figures.ts'
import type { CircuitBreakers } from './platform/circuit-breaker/circuit-breaker.ts'
import { createInProcessCircuitBreakers } from './platform/circuit-breaker/in-process.ts'
import type { Cache } from './platform/cache/cache.ts'
import { createInProcessCache } from './platform/cache/in-process.ts'
import { createDatabase } from './platform/database/create-database.ts'
import type { Database } from './platform/database/database.ts'
import type { Dispatch } from './platform/dispatch/dispatch.ts'
import { createInProcessDispatch } from './platform/dispatch/in-process.ts'
import type { Events } from './platform/events/events.ts'
import { createInProcessEvents } from './platform/events/in-process.ts'
import { createLogger, type Logger } from './platform/logger.ts'
import { memoryLimits } from './platform/memory-limits.ts'
import { createProcessVitals, readProcessMemory, type ReadMemory } from './platform/process-vitals.ts'
import { createInProcessRateLimits } from './platform/rate-limit/in-process.ts'
import type { RateLimits } from './platform/rate-limit/rate-limit.ts'
import { createInProcessThrottles } from './platform/throttle/in-process.ts'
import type { Throttles } from './platform/throttle/throttles.ts'
import type { Board } from './platform/redis/board.ts'
import { loadOrCreateSecret } from './platform/secret-file.ts'
import { createConfiguredServer } from './serve.ts'

/** A running server. */
export interface App extends AsyncDisposable {
  readonly url: string
  readonly services: Services
  /**
   * Stops taking work, lets running tasks end within the grace, gives the rest back, and releases everything. Takes SHUTDOWN_GRACE_MS and
   * 14 s at most, also when PostgreSQL or Redis hangs: then it rejects, and what it could not release is left to the end of the process.
   */
  close(): Promise<void>
}

/** What tests and benchmarks put in the place of what production uses. */
export type AppOverrides = {
  clock: Clock
  newId: NewId
  random: () => number
  logger: Logger
  /** Of completions with a key. */
  completionTimings: Partial<CompletionTimings>
  /** How long keys stay in their states. */
  keyTimings: KeyTimings
  /** Between two tokens of the demo model, in milliseconds. */
  demoTokenDelayMs: number
  /** Called with the text of every SQL statement before it is sent. */
  onStatement: (sql: string) => void
  /** The embedded database broke: nothing works any more. Default: a fatal line in the log. */
  onFatal: (error: Error) => void
  /** What this process holds of its memory. */
  readMemory: ReadMemory
}

/** How long requests may go on once the server stops; subscribers are sent away at once, to come back elsewhere. */
const httpGraceMs = 5_000
/** What stopping may take beside the grace for running tasks: goodbyes to clients (6 s), giving tasks back (6 s), and closing connections. */
const closeLimitMs = 14_000

/** What everything is built from. */
type Basics = {
  config: Config
  /** Names this process in leases, attempts and the list of processes. */
  processId: string
  clock: Clock
  newId: NewId
  random: () => number
  readMemory: ReadMemory
  keyTimings: KeyTimings
  logger: Logger
  cleanup: Cleanup
  completionTimings: CompletionTimings
}

/**
 * Starts a server: database, services, worker, HTTP. Takes the data directory, the port and nothing else; two apps in one process do not
 * know of each other.
 *
 * Throws DataDirectoryInUseError, MigrationError, WrongSecretError, ServiceUnavailableError (no database), or what listening throws; what was
 * started until then is released.
 */
export async function startApp(config: Config, overrides: Partial<AppOverrides> = {}): Promise<App> {
  const cleanup = createCleanup()
  const newId = overrides.newId ?? newUuid
  const basics: Basics = {
    config,
    processId: newId(),
    clock: overrides.clock ?? systemClock,
    newId,
    random: overrides.random ?? Math.random,
    readMemory: overrides.readMemory ?? readProcessMemory,
    keyTimings: overrides.keyTimings ?? defaultKeyTimings,
    logger: overrides.logger ?? createLogger({ level: config.logLevel }),
    cleanup,
    completionTimings: { ...defaultCompletionTimings, ...overrides.completionTimings },
  }
  try {
    const platform = await openPlatform(basics, overrides)
    const tasks = createTaskEngine(basics, platform)
    const processes = createProcesses(basics, platform)
    const services = { ...(await createServices(basics, platform, tasks)), processes }
    await startWork(basics, platform, { ...tasks, processes })
    const url = await serve(basics, platform, services)
    const close = (): Promise<void> => cleanup.run(config.shutdownGraceMs + closeLimitMs)
    return { url, services, close, [Symbol.asyncDispose]: close }
  } catch (error) {
    await cleanup
      .run(closeLimitMs)
      .catch((failure: unknown) =>
        basics.logger.error({ err: failure }, 'not everything was released after a failed start'),
      )
    throw error
  }
}

type Platform = Pick<Drivers, 'events' | 'dispatch' | 'throttles'> & {
  db: Database
  ai: AiClient
  budgetKnowledge: BudgetKnowledge
}

/** The only place that chooses drivers. */
async function openPlatform(basics: Basics, overrides: Partial<AppOverrides>): Promise<Platform> {
  const { config, clock, newId, random, logger, cleanup } = basics
  const { onStatement, demoTokenDelayMs } = overrides
  const db = await createDatabase({
    url: config.database.url,
    poolSize: config.database.poolSize,
    dataDirectory: config.dataDir,
    clock,
    logger,
    random,
    sleep,
    onCrash: overrides.onFatal ?? ((error) => logger.fatal({ err: error }, 'the embedded database broke')),
    onStatement,
  })
  cleanup.add('the database', () => db.close())
  const { events, dispatch, throttles, cache, ...limiting } = await openDrivers(basics)
  const demo = demoTokenDelayMs === undefined ? {} : { demoTokenDelayMs }
  const budgetKnowledge = createBudgetKnowledge({ db, clock })
  const budgets = createBudgetGate({ store: createBudgetStore({ db }), knowledge: budgetKnowledge, clock, logger })
  const responses = { cache, defaultTtlMs: config.answerCacheTtlMs }
  const ai = createAiClient({
    ...config.ai,
    ...limiting,
    ...demo,
    gates: [budgets],
    responses,
    clock,
    newId,
    random,
    logger,
  })
  cleanup.add('the AI client', () => ai.close())
  cleanup.add('the knowledge of budgets', async () => budgetKnowledge.close())
  const housekeeping = startBudgetHousekeeping({ db, logger })
  cleanup.add('the housekeeping of budgets', () => housekeeping.stop())
  return { db, events, dispatch, throttles, ai, budgetKnowledge }
}

/** What is in this process, or shared by all over Redis. */
type Drivers = {
  events: Events
  dispatch: Dispatch
  breakers: CircuitBreakers
  rateLimits: RateLimits
  throttles: Throttles
  cache: Cache
  /** One process needs none. */
  board?: Board
}

async function openDrivers(basics: Basics): Promise<Drivers> {
  const { config, clock, newId, logger, cleanup } = basics
  const hints: HintOptions = {
    maxWaitingPerWorkspace: 1,
    onError: (error) => logger.error({ err: error }, 'a hint could not be taken'),
  }
  const drivers: Drivers =
    config.redisUrl === null
      ? {
          events: createInProcessEvents(),
          dispatch: createInProcessDispatch(hints),
          breakers: createInProcessCircuitBreakers({ clock, newId }),
          rateLimits: createInProcessRateLimits({ clock }),
          throttles: createInProcessThrottles(),
          cache: createInProcessCache({ clock }),
        }
      : await openRedisDrivers(basics, { url: config.redisUrl, hints })
  cleanup.add('events', () => drivers.events.close())
  cleanup.add('dispatch', () => drivers.dispatch.close())
  cleanup.add('circuit breakers', () => drivers.breakers.close())
  cleanup.add('rate limits', () => drivers.rateLimits.close())
  cleanup.add('throttles', () => drivers.throttles.close())
  cleanup.add('the cache', () => drivers.cache.close())
  cleanup.add('the board of models', async () => drivers.board?.close())
  return drivers
}

type HintOptions = { maxWaitingPerWorkspace: number; onError: (error: unknown) => void }

// Loaded only when it is asked for: the clients take most of a second to import.
async function openRedisDrivers(
  { clock, newId, processId, logger, random }: Basics,
  { url, hints }: { url: string; hints: HintOptions },
): Promise<Drivers> {
  const [
    { openRedis },
    { createRedisEvents },
    { createBullmqDispatch },
    { createRedisCircuitBreakers },
    { createRedisRateLimits },
    { createRedisThrottles },
    { createRedisCache },
    { createRedisBoard },
  ] = await Promise.all([
    import('./platform/redis/redis.ts'),
    import('./platform/events/redis.ts'),
    import('./platform/dispatch/bullmq.ts'),
    import('./platform/circuit-breaker/redis.ts'),
    import('./platform/rate-limit/redis.ts'),
    import('./platform/throttle/redis.ts'),
    import('./platform/cache/redis.ts'),
    import('./platform/redis/board.ts'),
  ])
  const redis = await openRedis({ url, clock, logger, random })
  return {
    events: await createRedisEvents({ redis, logger }),
    dispatch: await createBullmqDispatch({ ...hints, redis, logger }),
    breakers: createRedisCircuitBreakers({ redis, clock, newId, logger }),
    rateLimits: createRedisRateLimits({ redis, clock, logger }),
    throttles: await createRedisThrottles({ redis, clock, logger }),
    cache: createRedisCache({ redis, clock, logger }),
    board: createRedisBoard({ redis, logger, name: 'models', processId, maxAgeMs: figuresWindowMs }),
  }
}

type TaskEngine = {
  transitions: Transitions
  announcer: Announcer
  reconciler: Reconciler
  publisher: TaskPublisher
  firing: Firing
  scheduler: Scheduler
}

function createTaskEngine({ clock, newId, logger }: Basics, { db, events, dispatch }: Platform): TaskEngine {
  const transitions = createTransitions({ db })
  const publisher = createTaskPublisher({ events, logger })
  // Tied in a knot: a transition may lead to waiting for the reconciler, whose rounds make transitions.
  const onScheduled = (): void => reconciler.scheduled()
  const announcer = createAnnouncer({ publisher, dispatch, onScheduled, logger })
  const reconciler: Reconciler = createReconciler({ transitions, announcer, dispatch, clock, logger })
  const firing = createFiring({ db })
  const scheduler = createScheduler({ firing, announcer, newId, logger })
  return { transitions, announcer, reconciler, publisher, firing, scheduler }
}

function createProcesses(basics: Basics, { db }: Platform): ProcessRegistry {
  const { config, processId, clock, newId, readMemory, logger, cleanup } = basics
  const vitals = createProcessVitals({ clock, readMemory })
  const memoryAlert = createMemoryAlert({ db, newId, processId, aliveMs })
  const self = { processId, roles: config.roles, vitals, memoryAlert }
  const processes = createProcessRegistry({ db, clock, logger, ...self })
  cleanup.add('the list of processes', () => processes.close())
  return processes
}

type ServicesOfFeatures = Omit<Services, 'processes'>

async function createServices(basics: Basics, platform: Platform, engine: TaskEngine): Promise<ServicesOfFeatures> {
  const { config, clock, newId, logger, cleanup } = basics
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
    completions: createCompletions({ ...checks, db, ai, keyed, access, clock, newId, maxPromptBytes }),
  }
}

function createKeyed(
  { completionTimings, clock, newId, random, logger, cleanup }: Basics,
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
  return keyed
}

function firstAdminPolicy({ environment, bootstrapToken }: Config): FirstAdminPolicy {
  return environment === 'production' ? { kind: 'token', token: bootstrapToken } : { kind: 'first-account' }
}

async function startWork(
  basics: Basics,
  platform: Platform,
  engine: TaskEngine & { processes: ProcessRegistry },
): Promise<void> {
  const { config, cleanup } = basics
  const { transitions, reconciler, scheduler, processes } = engine
  // Nobody else has the embedded database, so no lease in it is anybody's: what a crash left behind goes on at once.
  if (platform.db.kind === 'embedded') await transitions.expireAllLeases()
  // Any process repairs; only workers run.
  reconciler.start()
  cleanup.add('the reconciler', () => reconciler.stop())
  scheduler.start()
  cleanup.add('the scheduler', () => scheduler.stop())
  const worker = config.roles.includes('worker') ? await startTaskWorker(basics, platform, engine) : null
  const guard = worker === null ? null : guardMemory(basics, { worker, processes })
  let stopping = false
  if (worker !== null) {
    cleanup.add('the worker', async () => {
      stopping = true
      void processes.beat()
      await worker.stop(config.shutdownGraceMs)
    })
  }
  await processes.start({
    runningTasks: () => worker?.runningTasks() ?? 0,
    claiming: () => worker !== null && !stopping && guard?.shortage() === null,
    memoryShortage: () => guard?.shortage() ?? null,
  })
}

type Guarded = { worker: Worker; processes: ProcessRegistry }

function guardMemory(basics: Basics, { worker, processes }: Guarded): MemoryGuard {
  const { config, readMemory, logger, cleanup } = basics
  const guard = startMemoryGuard({
    readMemory,
    limits: memoryLimits(config.workerMemoryLimitMb),
    onChange(shortage) {
      if (shortage === null) worker.resume()
      else worker.pause()
      void processes.beat()
    },
    logger,
  })
  cleanup.add('the memory guard', () => guard.close())
  return guard
}

async function startTaskWorker(basics: Basics, platform: Platform, engine: TaskEngine): Promise<Worker> {
  const { config, processId, clock, newId, random, logger, cleanup } = basics
  const { workerConcurrency: concurrency, leaseMs } = config
  const { transitions, announcer, publisher } = engine
  const { db } = platform
  const output = createOutputWriter({ db, publisher, logger, random })
  cleanup.add('output', () => output.close())
  const steps = createStepBatcher({ transitions, announcer, clock, newId, logger, processId, leaseMs })
  cleanup.add('steps', () => steps.close())
  const ledger = createLedger({ db })
  const limitQueue = createLimitQueue({ clock })
  const dependencies = createDependencyResults({ db })
  const shared = {
    ...platform,
    transitions,
    announcer,
    steps,
    ledger,
    output,
    dependencies,
    limitQueue,
    clock,
    random,
    logger,
  }
  return startWorker({ ...shared, concurrency, leaseMs })
}

async function serve({ config, newId, cleanup }: Basics, { throttles }: Platform, services: Services): Promise<string> {
  const http = await createConfiguredServer(config, { services, throttles, newId })
  const { url } = await http.listen({ host: config.host, port: config.port })
  cleanup.add('the HTTP server', () => http.close(httpGraceMs))
  return url
}
