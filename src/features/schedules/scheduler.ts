import type { NewId } from '../../lib/ids.ts'
import { isOutage } from '../../lib/errors.ts'
import type { Logger } from '../../platform/logger.ts'
import type { Announcer } from '../tasks/engine/announcer.ts'
import { createCronTimes } from './cron.ts'
import type { DueSchedule, Fire, Firing } from './firing.ts'
import { taskTemplateSchema } from './schedule-input.ts'

/**
 * Makes the tasks of schedules when they are due. Any number of processes may run one: each due time has exactly one task.
 *
 * Due times that passed while no process was there, or the database was away, are made up for by one task, for the latest of them; those
 * before it are skipped. A task for each would do the same work many times at once after a long outage.
 */
export interface Scheduler {
  /** Begins to work, with a round at once. */
  start(): void
  /** Says that a schedule was made or changed: it may be due before the next round. */
  changed(): void
  stop(): Promise<void>
}

export type SchedulerDeps = {
  firing: Firing
  announcer: Announcer
  newId: NewId
  logger: Logger
}

/** The longest time between two looks, for what another process has changed. */
const intervalMs = 1_000
/** Between two looks at what is due and is being fired by somebody else. */
const minGapMs = 25
/** A template may have half a megabyte. */
const schedulesPerPass = 50
const maxPassesPerRound = 200

export function createScheduler(deps: SchedulerDeps): Scheduler {
  const { firing, announcer, newId, logger } = deps
  let timer: NodeJS.Timeout | null = null
  let round: Promise<void> | null = null
  let isAskedAgain = false
  let isFailing = false
  let stopped = false

  async function fireAll(fires: readonly Fire[]): Promise<number> {
    try {
      const transitions = await firing.fire(fires)
      await announcer.announce(transitions)
      return transitions.length
    } catch (error) {
      if (isOutage(error)) throw error
      return fireOneByOne(fires, error)
    }
  }

  // One that the database refuses must not keep the others from their times.
  async function fireOneByOne(fires: readonly Fire[], error: unknown): Promise<number> {
    const [only] = fires
    if (only !== undefined && fires.length === 1) {
      const { scheduleId, version } = only
      logger.error({ err: error, scheduleId }, 'a schedule cannot be fired; it is paused')
      if (!('pauseReason' in only))
        await firing.fire([{ scheduleId, version, pauseReason: 'Its task could not be made.' }])
      return 1
    }
    let fired = 0
    for (const fire of fires) fired += await fireAll([fire])
    return fired
  }

  async function fireDue(): Promise<void> {
    for (let pass = 0; pass < maxPassesPerRound && !stopped; pass += 1) {
      const due = await firing.due(schedulesPerPass)
      if (due.length === 0) return
      const fired = await fireAll(due.map((schedule) => decide(schedule, { newId, logger })))
      // The rest is being fired by somebody else.
      if (fired === 0 || due.length < schedulesPerPass) return
    }
  }

  async function runRound(): Promise<void> {
    let nextMs = intervalMs
    try {
      do {
        isAskedAgain = false
        await fireDue()
        nextMs = (await firing.nextDueInMs()) ?? intervalMs
      } while (isAskedAgain && !stopped)
      if (isFailing) logger.info('schedules are fired again')
      isFailing = false
    } catch (error) {
      if (!isFailing) logger.warn({ err: error }, 'schedules could not be fired; it is tried again every second')
      isFailing = true
      nextMs = intervalMs
    }
    round = null
    if (!stopped) timer = setTimeout(look, Math.min(intervalMs, Math.max(minGapMs, Math.ceil(nextMs))))
  }

  function look(): void {
    if (stopped) return
    if (timer !== null) clearTimeout(timer)
    isAskedAgain = round !== null
    round ??= runRound()
  }

  return {
    start: look,
    changed: look,
    async stop() {
      stopped = true
      if (timer !== null) clearTimeout(timer)
      await round
    },
  }
}

type Deciding = { newId: NewId; logger: Logger }

/** What is to become of a schedule that is due. */
function decide(schedule: DueSchedule, deciding: Deciding): Fire {
  try {
    return toFire(schedule, deciding)
  } catch (error) {
    // It was whole when it was written; but this process may know fewer time zones than the one that did it.
    const { id: scheduleId, version } = schedule
    deciding.logger.error({ err: error, scheduleId }, 'the times of a schedule cannot be computed; it is paused')
    return { scheduleId, version, pauseReason: 'Its times could not be computed.' }
  }
}

function toFire(schedule: DueSchedule, { newId, logger }: Deciding): Fire {
  const { id: scheduleId, version, nextRunAt: dueAt, now } = schedule
  const times = createCronTimes(schedule.cron, schedule.timeZone)
  const nextRunAt = times.next(now)
  if (nextRunAt === null) return { scheduleId, version, pauseReason: 'There is no next time.' }
  const latest = times.latest(now)
  const scheduledFor = latest !== null && latest > dueAt ? latest : dueAt
  if (scheduledFor > dueAt)
    logger.warn({ scheduleId, missedFrom: dueAt, scheduledFor }, 'due times were missed; the latest is made up for')
  const { name, prompt, input, priority, maxAttempts, timeoutMs } = taskTemplateSchema.parse(schedule.template)
  const task = {
    id: newId(),
    workspaceId: schedule.workspaceId,
    agentId: schedule.agentId,
    createdById: schedule.createdById,
    name: name ?? schedule.name,
    prompt,
    input,
    priority: priority ?? 0,
    maxAttempts: maxAttempts ?? null,
    timeoutMs: timeoutMs ?? null,
    scheduleId,
    scheduledFor,
  }
  return { scheduleId, version, nextRunAt, task }
}
