import { createMemoryAlert } from '../features/operations/memory-alert.ts'
import { startMemoryGuard, type MemoryGuard } from '../features/operations/memory-guard.ts'
import { aliveMs, createProcessRegistry, type ProcessRegistry } from '../features/operations/process-registry.ts'
import { createDependencyResults } from '../features/tasks/engine/dependency-results.ts'
import { createLimitQueue } from '../features/tasks/engine/limit-queue.ts'
import { createStepBatcher } from '../features/tasks/engine/step-batcher.ts'
import { startWorker, type Worker } from '../features/tasks/engine/worker.ts'
import { createOutputWriter } from '../features/tasks/output/output-writer.ts'
import { createLedger } from '../features/usage/ledger.ts'
import { memoryLimits } from '../platform/memory-limits.ts'
import { createProcessVitals } from '../platform/process-vitals.ts'
import type { Basics } from './basics.ts'
import type { Platform } from './platform.ts'
import type { TaskEngine } from './task-engine.ts'

export function createProcesses(basics: Basics, { db }: Platform): ProcessRegistry {
  const { config, processId, clock, newId, readMemory, logger, cleanup } = basics
  const vitals = createProcessVitals({ clock, readMemory })
  const memoryAlert = createMemoryAlert({ db, newId, processId, aliveMs })
  const self = { processId, roles: config.roles, vitals, memoryAlert }
  const processes = createProcessRegistry({ db, clock, logger, ...self })
  cleanup.add('the list of processes', () => processes.close())
  return processes
}

export async function startWork(
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
  // The embedded database does one thing at a time: what would wait for it may as well gather.
  const maxUnderWay = db.kind === 'embedded' ? 1 : 2
  const steps = createStepBatcher({ transitions, announcer, clock, newId, logger, processId, leaseMs, maxUnderWay })
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
