import type { Agent, Prisma, Schedule } from '../../generated/prisma/client.ts'
import type { Clock } from '../../lib/clock.ts'
import { BadUserInputError, ConflictError, NotFoundError } from '../../lib/errors.ts'
import type { NewId } from '../../lib/ids.ts'
import { parseInput } from '../../lib/parse-input.ts'
import { isUniqueViolation } from '../../platform/database/database-errors.ts'
import type { Database, Transaction } from '../../platform/database/database.ts'
import type { Viewer } from '../accounts/viewer.ts'
import { recordAudit, type AuditAction, type AuditRecord } from '../audit/audit.ts'
import { unknownOrigin, type RequestOrigin } from '../audit/request-origin.ts'
import type { WorkspaceAccess } from '../workspaces/access.ts'
import { workspacesOf } from '../workspaces/visible-workspaces.ts'
import { createCronTimes } from './cron.ts'
import {
  createScheduleSchemas,
  scheduleLimits,
  type CreateScheduleInput,
  type TaskTemplate,
  type UpdateScheduleInput,
} from './schedule-input.ts'

/**
 * Schedules: tasks that are made again and again. Every method throws NotFoundError for a schedule or agent that does not exist or is not the
 * viewer's, and ForbiddenError for a VIEWER.
 */
export interface Schedules {
  /**
   * Makes one, in the agent's workspace. Throws BadUserInputError with all problems, and ConflictError for a name that is taken, an archived
   * agent, and a workspace that has as many as it may.
   */
  create(viewer: Viewer, input: CreateScheduleInput, origin?: RequestOrigin): Promise<Schedule>
  /**
   * Changes what is given. Other times, and an end of the pause, count from now on: what would have been due before is not made up for. Throws
   * BadUserInputError with all problems, and ConflictError when it would go on for an archived agent.
   */
  update(viewer: Viewer, input: UpdateScheduleInput, origin?: RequestOrigin): Promise<Schedule>
  /** Returns it as it was. Its tasks stay. */
  delete(viewer: Viewer, scheduleId: string, origin?: RequestOrigin): Promise<Schedule>
}

export type SchedulesDeps = {
  db: Database
  clock: Clock
  newId: NewId
  access: WorkspaceAccess
  maxPromptBytes: number
  /** Told after a schedule was made or changed: it may be due soon. Must not throw. */
  onChange: () => void
}

const agentField = 'input.task.agentId'

export function createSchedules(deps: SchedulesDeps): Schedules {
  const { db, clock, newId, access, onChange } = deps
  const schemas = createScheduleSchemas(deps)

  async function requireSchedule(viewer: Viewer, id: string): Promise<Schedule> {
    const where = { id, deletedAt: null, workspace: workspacesOf(viewer) }
    const schedule = await db.prisma.schedule.findFirst({ where })
    if (schedule === null) throw notFound()
    await access.require(viewer, schedule.workspaceId, 'MEMBER')
    return schedule
  }

  async function requireAgent(viewer: Viewer, agentId: string): Promise<Agent> {
    const agent = await db.prisma.agent.findFirst({ where: { id: agentId, workspace: workspacesOf(viewer) } })
    if (agent === null) throw new NotFoundError('agent', { details: { field: agentField } })
    await access.require(viewer, agent.workspaceId, 'MEMBER')
    return agent
  }

  // Made before the transaction, which may run more than once.
  function begin(viewer: Viewer, origin: RequestOrigin, action: AuditAction): Act {
    return { id: newId(), at: clock.now(), action, actorId: viewer.userId, ...origin }
  }

  return {
    async create(viewer, rawInput, origin = unknownOrigin) {
      const { name, cron, timeZone, task } = parseInput(schemas.create, rawInput)
      const { agentId, ...template } = task
      const agent = await requireAgent(viewer, agentId)
      if (agent.status === 'ARCHIVED') throw agentArchived()
      const { workspaceId } = agent
      const id = newId()
      const act = begin(viewer, origin, 'schedule.created')
      const schedule = await withUniqueName(() =>
        db.transaction(async (tx) => {
          await requireRoom(tx, workspaceId)
          const nextRunAt = nextAfter(await databaseTime(tx), { cron, timeZone })
          const when = { cron, timeZone, nextRunAt, createdAt: act.at, updatedAt: act.at }
          const what = { name, agentId, template: templateJson(template), createdById: viewer.userId }
          const row = await tx.schedule.create({ data: { id, workspaceId, ...what, ...when } })
          await audit(tx, act, row)
          return row
        }),
      )
      onChange()
      return schedule
    },

    async update(viewer, rawInput, origin = unknownOrigin) {
      const { workspaceId } = await requireSchedule(viewer, rawInput.id)
      const { id, task, ...changes } = parseInput(schemas.update, rawInput)
      const agent = task === undefined ? null : await requireAgent(viewer, task.agentId)
      if (agent !== null && agent.workspaceId !== workspaceId)
        throw new NotFoundError('agent in the workspace of the schedule', { details: { field: agentField } })
      const act = begin(viewer, origin, 'schedule.updated')
      const schedule = await db.transaction(async (tx) => {
        const present = await lockSchedule(tx, id)
        const timing = changeTiming(present, changes, await databaseTime(tx))
        const agentId = agent?.id ?? present.agentId
        if (!timing.paused) await requireLiveAgent(tx, agentId)
        const what = task === undefined ? {} : templateOf(task)
        const data = { ...timing, ...what, agentId, version: { increment: 1 }, updatedAt: act.at }
        const row = await tx.schedule.update({ where: { id }, data })
        await audit(tx, act, row)
        return row
      })
      onChange()
      return schedule
    },

    async delete(viewer, scheduleId, origin = unknownOrigin) {
      await requireSchedule(viewer, scheduleId)
      const act = begin(viewer, origin, 'schedule.deleted')
      return db.transaction(async (tx) => {
        const present = await lockSchedule(tx, scheduleId)
        const gone = { deletedAt: act.at, paused: true, pausedReason: null, nextRunAt: null, template: {} }
        await tx.schedule.update({ where: { id: scheduleId }, data: { ...gone, version: { increment: 1 } } })
        await audit(tx, act, present)
        return present
      })
    },
  }
}

type Act = Omit<AuditRecord, 'target' | 'workspaceId'>

async function audit(tx: Transaction, act: Act, { id, workspaceId }: Schedule): Promise<void> {
  await recordAudit(tx, { ...act, target: id, workspaceId })
}

type Times = { cron: string; timeZone: string }
type Timing = Pick<Schedule, 'cron' | 'timeZone' | 'paused' | 'pausedReason' | 'nextRunAt'>
type TimingChanges = { cron?: string | undefined; timeZone?: string | undefined; paused?: boolean | undefined }

function changeTiming(present: Schedule, changes: TimingChanges, now: Date): Timing {
  const { cron = present.cron, timeZone = present.timeZone, paused = present.paused } = changes
  if (paused) {
    // A person who pauses what the server has paused takes the reason over.
    const pausedReason = changes.paused === undefined ? present.pausedReason : null
    return { cron, timeZone, paused, pausedReason, nextRunAt: null }
  }
  const isSame = cron === present.cron && timeZone === present.timeZone && present.nextRunAt !== null
  const nextRunAt = isSame ? present.nextRunAt : nextAfter(now, { cron, timeZone })
  return { cron, timeZone, paused, pausedReason: null, nextRunAt }
}

function nextAfter(now: Date, { cron, timeZone }: Times): Date {
  const next = createCronTimes(cron, timeZone).next(now)
  if (next === null) throw new BadUserInputError('input.cron', 'It names a time that does not come.')
  return next
}

async function databaseTime(tx: Transaction): Promise<Date> {
  const [row] = await tx.$queryRaw<{ now: Date }[]>`SELECT clock_timestamp() AS now`
  if (row === undefined) throw new Error('the database does not say what time it is')
  return row.now
}

/** Locks its row: firing skips it meanwhile. */
async function lockSchedule(tx: Transaction, id: string): Promise<Schedule> {
  await tx.$queryRaw`SELECT 1 FROM schedule WHERE id = ${id}::uuid FOR NO KEY UPDATE`
  const schedule = await tx.schedule.findFirst({ where: { id, deletedAt: null } })
  if (schedule === null) throw notFound()
  return schedule
}

async function requireLiveAgent(tx: Transaction, agentId: string): Promise<void> {
  const agent = await tx.agent.findUnique({ where: { id: agentId }, select: { status: true } })
  if (agent?.status === 'ARCHIVED') throw agentArchived()
}

/** Locks the workspace's row, so that two who count at once do not both find room. */
async function requireRoom(tx: Transaction, workspaceId: string): Promise<void> {
  await tx.$queryRaw`SELECT 1 FROM workspace WHERE id = ${workspaceId}::uuid FOR NO KEY UPDATE`
  const count = await tx.schedule.count({ where: { workspaceId, deletedAt: null } })
  if (count < scheduleLimits.perWorkspace) return
  throw new ConflictError(`A workspace has at most ${scheduleLimits.perWorkspace} schedules.`, {
    details: { limit: scheduleLimits.perWorkspace },
    suggestions: ['Delete one that is not needed any more.'],
  })
}

async function withUniqueName<T>(write: () => Promise<T>): Promise<T> {
  try {
    return await write()
  } catch (error) {
    if (!isUniqueViolation(error, 'schedule_name_key')) throw error
    throw new ConflictError('The workspace has a schedule with this name.', {
      details: { field: 'input.name' },
      suggestions: ['Choose another name, or update the schedule that is there.'],
      cause: error,
    })
  }
}

function templateOf({ agentId: _column, ...template }: TaskTemplate & { agentId: string }) {
  return { template: templateJson(template) }
}

// JSON knows no undefined; what was not given is not there.
function templateJson(template: TaskTemplate): Prisma.InputJsonObject {
  return JSON.parse(JSON.stringify(template))
}

function notFound(): NotFoundError {
  return new NotFoundError('schedule', { details: { field: 'input.id' } })
}

function agentArchived(): ConflictError {
  return new ConflictError('The agent is archived and takes no more tasks.', {
    details: { field: agentField },
    suggestions: ['Give the schedule a task of another agent.'],
  })
}
