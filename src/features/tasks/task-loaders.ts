import type { Task } from '../../generated/prisma/client.ts'
import { batchLoader, batchLoadersBy, type BatchLoader } from '../../lib/batch-loader.ts'
import type { Page, PageRequest } from '../../lib/keyset-page.ts'
import type { Database } from '../../platform/database/database.ts'
import type { AttemptKey, Usage, UsageTotals } from '../usage/usage.ts'
import type { TaskEventRecord } from './streams/task-messages.ts'
import { readDependencies, readDependentPages } from './task-dependencies.ts'
import { readTaskPages, type TaskPageOptions } from './task-pages.ts'
import { readAhead, readBlockers, type Blockers } from './task-waits.ts'
import { readAgentLoads, readOutputs, readTaskEvents, type AgentLoad, type EventRange } from './task-queries.ts'

/** What of tasks is read for many at once, each by one statement. */
export interface TaskLoaders {
  taskUsage: BatchLoader<string, UsageTotals>
  attemptUsage: BatchLoader<AttemptKey, UsageTotals>
  taskOutput: BatchLoader<string, string | null>
  /** By agent. */
  agentLoad: BatchLoader<string, AgentLoad | null>
  /** By task: what it waits for. */
  taskBlockers: BatchLoader<string, Blockers | null>
  /** By task: how many of its agent go first. */
  tasksAhead: BatchLoader<string, number>
  /** By the owner that the options name. */
  taskPages(options: TaskPageOptions): BatchLoader<string, Page<Task>>
  /** By task. */
  taskDependencies: BatchLoader<string, Task[]>
  /** By task. */
  taskDependents(request: PageRequest): BatchLoader<string, Page<Task>>
  /** By task. */
  taskEvents(range: EventRange): BatchLoader<string, TaskEventRecord[]>
}

export function createTaskLoaders({ db, usage }: { db: Database; usage: Usage }): TaskLoaders {
  return {
    taskUsage: batchLoader((ids) => usage.byTask(ids)),
    attemptUsage: batchLoader((keys) => usage.byAttempt(keys)),
    taskOutput: batchLoader((ids) => readOutputs(db, ids)),
    taskBlockers: batchLoader((ids) => readBlockers(db, ids)),
    tasksAhead: batchLoader((ids) => readAhead(db, ids)),
    agentLoad: batchLoader((ids) => readAgentLoads(db, ids)),
    taskPages: batchLoadersBy((ids, options) => readTaskPages(db, ids, options)),
    taskDependencies: batchLoader((ids) => readDependencies(db, ids)),
    taskDependents: batchLoadersBy((ids, request) => readDependentPages(db, ids, request)),
    taskEvents: batchLoadersBy((ids, range) => readTaskEvents(db, ids, range)),
  }
}
