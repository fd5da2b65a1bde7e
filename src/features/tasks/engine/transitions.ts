import { storableJson } from '../../../lib/stored-text.ts'
import { sqlStateOf } from '../../../platform/database/database-errors.ts'
import type { Database, Statement, Transaction } from '../../../platform/database/database.ts'
import { callJson } from '../../usage/ledger.ts'
import { batchCreates } from './create-batch.ts'
import type { TaskTransition } from '../streams/task-messages.ts'
import { parseClaimedRun, parseTransition, type ClaimedRun } from './task-json.ts'
import {
  endJson,
  graphKeyJson,
  newTaskJson,
  postponedJson,
  wishJson,
  type Lease,
  type NewGraphKey,
  type NewTask,
  type RunEnd,
  type Wish,
} from './transition-input.ts'

/**
 * The transitions of tasks. Each method is one statement and one transaction; the guards, the locks and their order are in the SQL
 * functions (prisma/migrations). Nothing is published here: the caller does that with what it gets back.
 *
 *   from                          to         by
 *   (nothing)                     QUEUED     create; SCHEDULED when runAt is in the future; BLOCKED when a dependency has not succeeded
 *   BLOCKED                       QUEUED     whatever ends the last dependency; SCHEDULED when runAt is in the future
 *   FAILED, CANCELLED, SKIPPED    QUEUED     retry; SCHEDULED before its time, BLOCKED by a dependency that lives again
 *   BLOCKED                       SKIPPED    whatever ends a dependency without success; CANCELLED when the policy is CANCEL
 *   SCHEDULED                     QUEUED     reconcile, when due
 *   QUEUED                        RUNNING    step (claim): a lease, attempt + 1
 *   RUNNING                       SUCCEEDED  step (end), with the lease's token
 *   RUNNING                       FAILED     step (end): terminal error, or the last attempt; reconcile: lost, and no retry left
 *   RUNNING                       SCHEDULED  step (end): retryable error; postpone: a limit is used up, not counted
 *   RUNNING                       QUEUED     step (end): released, not counted; reconcile: lost, counted
 *   (any but the last four)       the same   setPriority: only its place among those that wait
 *   BLOCKED, SCHEDULED, QUEUED    CANCELLED  cancel; reconcile, when the agent is archived
 *   RUNNING                       CANCELLED  step (end), after cancel has asked for it; reconcile, when that takes too long
 */
export interface Transitions {
  /**
   * Missing from the answer are tasks whose idempotency key or due time of a schedule is taken, whose agent is not there or archived, that
   * depend on something that is not in their workspace, and that are there already by their id. A task that depends on one that has ended
   * without success has two transitions: it is created BLOCKED, and then hears of it.
   */
  create(tasks: readonly NewTask[]): Promise<TaskTransition[]>
  /**
   * Creates tasks that may depend on each other, all or none. Empty when the key is taken. Throws TaskLeftOutError when one cannot be created.
   */
  createGraph(tasks: readonly NewTask[], key: NewGraphKey | null): Promise<TaskTransition[]>
  /** Not repeated when the connection breaks: the caller knows what it may ask for again. */
  step(step: Step): Promise<StepResult>
  /**
   * Gives a run back whose end is LIMITED, to be run again after `retryDelayMs`. `isPostponed` is false when the lease is not ours any more or the
   * task is to be cancelled.
   */
  postpone(end: RunEnd): Promise<{ transitions: TaskTransition[]; isPostponed: boolean }>
  /** In `tx`, when it is to happen together with something else; that must come first, because the last locks are taken here. */
  cancel(taskIds: readonly string[], reason: string | null, tx?: Transaction): Promise<TaskTransition[]>
  /** Null when there is nothing to change: the task has ended, or has that priority. It takes the last locks of `tx`. */
  setPriority(tx: Transaction, change: { taskId: string; priority: number }): Promise<TaskTransition | null>
  /**
   * Revives tasks that ended without success, and what their policies had skipped or cancelled because of them. Missing from the answer are
   * tasks that have not ended or have succeeded, whose agent is archived, or that would end again at once, because of a dependency. In `tx`
   * as for `cancel`.
   */
  retry(taskIds: readonly string[], tx?: Transaction): Promise<TaskTransition[]>
  /** Keeps leases; what is missing from the answer is not ours any more. */
  heartbeat(leases: readonly Lease[], leaseMs: number): Promise<{ leaseToken: string; cancelRequested: boolean }[]>
  /** Repairs at most `limit` tasks of each kind. */
  reconcile(options: { cancelGraceMs: number; limit: number }): Promise<TaskTransition[]>
  /** Tells at most `limit` dependents what no transaction has told them yet, because they were too many or locked. */
  tellRest(limit: number): Promise<{ transitions: TaskTransition[]; more: boolean }>
  /**
   * Looks at blocked tasks, at most `limit` of those after `after` (null: from the first), and tells those that wait for nothing. `next`: where
   * to go on; null: all have been looked at.
   */
  tellOverlooked(after: string | null, limit: number): Promise<{ transitions: TaskTransition[]; next: string | null }>
  /** Ends every lease at once. Only for a process that knows that no other one is alive. */
  expireAllLeases(): Promise<void>
  /** Workspaces that have queued tasks and room for them, those first whose tasks have waited longest: a hint for them may have been lost. */
  workspacesWithWork(limit: number): Promise<string[]>
  /** Milliseconds until the next scheduled task is due (negative: overdue), by the database's clock; null when there is none. */
  nextDueInMs(): Promise<number | null>
}

/** A task of a graph cannot be created, and so none was: its agent was archived meanwhile, or a dependency is not in the workspace. */
export class TaskLeftOutError extends Error {
  constructor(options: { cause: unknown }) {
    super('a task of the graph cannot be created', options)
    this.name = 'TaskLeftOutError'
  }
}

export type Step = {
  ends: readonly RunEnd[]
  /** At most one for each workspace. */
  claims: readonly Wish[]
  processId: string
  leaseMs: number
}

export type StepResult = {
  transitions: TaskTransition[]
  /** The tasks of `ends` whose end was accepted; the leases of the others were lost. */
  endedTaskIds: ReadonlySet<string>
  claimed: ClaimedRun[]
  /** Workspaces in which a task waits that could run: `claims` have left it, or `ends` have made room. */
  readyWorkspaceIds: readonly string[]
}

const createStatement: Statement = { name: 'task_create', text: 'SELECT task_create($1) AS data' }
const createGraphStatement: Statement = { name: 'task_create_graph', text: 'SELECT task_create_graph($1, $2) AS data' }
const stepStatement: Statement = {
  name: 'task_step',
  text: 'SELECT kind, data FROM task_step($1, $2, $3, $4, $5)',
}
const cancelStatement: Statement = { name: 'task_cancel', text: 'SELECT task_cancel($1, $2) AS data' }
const postponeStatement: Statement = {
  name: 'task_postpone_runs',
  text: 'SELECT kind, data FROM task_postpone_runs($1, $2)',
}
const retryStatement: Statement = { name: 'task_retry', text: 'SELECT task_retry($1) AS data' }
const heartbeatStatement: Statement = {
  name: 'task_heartbeat',
  text: 'SELECT lease_token, cancel_requested FROM task_heartbeat($1, $2, $3)',
}
const reconcileStatement: Statement = { name: 'task_reconcile', text: 'SELECT task_reconcile($1, $2) AS data' }
const tellRestStatement: Statement = { name: 'task_tell_rest', text: 'SELECT kind, data FROM task_tell_rest($1)' }
const tellOverlookedStatement: Statement = {
  name: 'task_tell_overlooked',
  text: 'SELECT kind, data FROM task_tell_overlooked($1, $2)',
}
const expireStatement: Statement = {
  name: 'task_expire_leases',
  text: `UPDATE task SET lease_expires_at = clock_timestamp() WHERE status = 'RUNNING' AND lease_expires_at > clock_timestamp()`,
}
const workspacesWithWorkStatement: Statement = {
  name: 'workspaces_with_work',
  text: `SELECT a.workspace_id AS id FROM agent a
          CROSS JOIN LATERAL (SELECT claim_order FROM task q WHERE q.agent_id = a.id AND q.status = 'QUEUED' ORDER BY claim_order, id LIMIT 1) q
          WHERE a.status = 'ACTIVE'
            AND a.concurrency > (SELECT count(*) FROM task r
                                  WHERE r.agent_id = a.id AND r.status = 'RUNNING' AND r.lease_expires_at > clock_timestamp())
          GROUP BY a.workspace_id ORDER BY min(q.claim_order) LIMIT $1`,
}
const nextDueStatement: Statement = {
  name: 'task_next_due',
  text: `SELECT extract(epoch FROM min(run_at) - clock_timestamp())::float8 * 1000 AS due_in_ms FROM task WHERE status = 'SCHEDULED'`,
}

type Data = { data: unknown }
type KindOfData = Data & { kind: string }

const lowestId = '00000000-0000-0000-0000-000000000000'

export function createTransitions({ db }: { db: Database }): Transitions {
  return {
    create: batchCreates(async (tasks) => {
      const rows = await db.query<Data>(createStatement, [storableJson(tasks.map(newTaskJson))], { retry: true })
      return rows.map((row) => parseTransition(row.data))
    }),
    async createGraph(tasks, key) {
      const values = [key === null ? null : JSON.stringify(graphKeyJson(key)), storableJson(tasks.map(newTaskJson))]
      try {
        const rows = await db.query<Data>(createGraphStatement, values, { retry: true })
        return rows.map((row) => parseTransition(row.data))
      } catch (cause) {
        throw sqlStateOf(cause) === 'GR001' ? new TaskLeftOutError({ cause }) : cause
      }
    },
    async step({ ends, claims, processId, leaseMs }) {
      const rows = await db.query<Data & { kind: 'transition' | 'ended' | 'claimed' | 'ready' }>(stepStatement, [
        storableJson(ends.map(endJson)),
        storableJson(ends.flatMap((end) => end.calls.map(callJson))),
        JSON.stringify(claims.map(wishJson)),
        processId,
        leaseMs,
      ])
      const data = (kind: string): unknown[] => rows.filter((row) => row.kind === kind).map((row) => row.data)
      return {
        transitions: data('transition').map(parseTransition),
        endedTaskIds: new Set(data('ended').map(String)),
        claimed: data('claimed').map(parseClaimedRun),
        readyWorkspaceIds: data('ready').map(String),
      }
    },
    async postpone(end) {
      const rows = await db.query<Data & { kind: string }>(
        postponeStatement,
        [storableJson([postponedJson(end)]), storableJson(end.calls.map(callJson))],
        { retry: true },
      )
      const transitions = rows.filter(({ kind }) => kind === 'transition').map(({ data }) => parseTransition(data))
      return { transitions, isPostponed: rows.some(({ kind }) => kind === 'ended') }
    },
    async cancel(taskIds, reason, tx) {
      const rows =
        tx === undefined
          ? await db.query<Data>(cancelStatement, [taskIds, reason], { retry: true })
          : await tx.$queryRaw<Data[]>`SELECT task_cancel(${taskIds}::uuid[], ${reason}::text) AS data`
      return rows.map((row) => parseTransition(row.data))
    },
    async setPriority(tx, { taskId, priority }) {
      const rows = await tx.$queryRaw<Data[]>`SELECT task_set_priority(${taskId}::uuid, ${priority}::int) AS data`
      return rows.map((row) => parseTransition(row.data))[0] ?? null
    },
    async retry(taskIds, tx) {
      const rows =
        tx === undefined
          ? await db.query<Data>(retryStatement, [taskIds], { retry: true })
          : await tx.$queryRaw<Data[]>`SELECT task_retry(${taskIds}::uuid[]) AS data`
      return rows.map((row) => parseTransition(row.data))
    },
    async heartbeat(leases, leaseMs) {
      const rows = await db.query<{ lease_token: string; cancel_requested: boolean }>(heartbeatStatement, [
        leases.map((lease) => lease.taskId),
        leases.map((lease) => lease.leaseToken),
        leaseMs,
      ])
      return rows.map((row) => ({ leaseToken: row.lease_token, cancelRequested: row.cancel_requested }))
    },
    async reconcile({ cancelGraceMs, limit }) {
      const rows = await db.query<Data>(reconcileStatement, [cancelGraceMs, limit], { retry: true })
      return rows.map((row) => parseTransition(row.data))
    },
    async tellRest(limit) {
      const rows = await db.query<KindOfData>(tellRestStatement, [limit], { retry: true })
      return { transitions: transitionsOf(rows), more: rows.some(({ kind }) => kind === 'more') }
    },
    async tellOverlooked(after, limit) {
      const rows = await db.query<KindOfData>(tellOverlookedStatement, [after ?? lowestId, limit], { retry: true })
      const next = rows.find(({ kind }) => kind === 'next')
      return { transitions: transitionsOf(rows), next: next === undefined ? null : String(next.data) }
    },
    async expireAllLeases() {
      await db.query(expireStatement, [], { retry: true })
    },
    async workspacesWithWork(limit) {
      const rows = await db.query<{ id: string }>(workspacesWithWorkStatement, [limit])
      return rows.map((row) => row.id)
    },
    async nextDueInMs() {
      const [row] = await db.query<{ due_in_ms: number | null }>(nextDueStatement, [])
      return row?.due_in_ms ?? null
    },
  }
}

function transitionsOf(rows: readonly KindOfData[]): TaskTransition[] {
  return rows.filter(({ kind }) => kind === 'transition').map(({ data }) => parseTransition(data))
}
