import { z } from 'zod'
import { nameText, shortText } from '../../lib/stored-text.ts'
import { withDefault } from '../../lib/input-numbers.ts'
import { createTaskSchema, type CreateTaskInput } from '../tasks/new-task.ts'
import { findCronProblem, findTimeZoneProblem, tidyCron, type CronProblem } from './cron.ts'

/** What a schedule may be; lengths are in characters. */
export const scheduleLimits = {
  nameLength: 100,
  cronLength: 200,
  timeZoneLength: 64,
  perWorkspace: 200,
} as const

export type CreateScheduleInput = {
  name: string
  cron: string
  timeZone?: string | null | undefined
  task: CreateTaskInput
}

/** What is absent stays. */
export type UpdateScheduleInput = {
  id: string
  cron?: string | null | undefined
  timeZone?: string | null | undefined
  paused?: boolean | null | undefined
  task?: CreateTaskInput | null | undefined
}

/** What each task is made of; the agent is a column of its own. */
export type TaskTemplate = z.output<typeof taskTemplateSchema>

/** Reads what was checked when it was written. */
export const taskTemplateSchema = z.object({
  prompt: z.string(),
  name: z.string().nullish(),
  input: z.unknown().optional(),
  priority: z.number().nullish(),
  maxAttempts: z.number().nullish(),
  timeoutMs: z.number().nullish(),
})

export function createScheduleSchemas({ maxPromptBytes }: { maxPromptBytes: number }) {
  const cron = checkedText(scheduleLimits.cronLength, findCronProblem).transform(tidyCron)
  const timeZone = checkedText(scheduleLimits.timeZoneLength, findTimeZoneProblem)
  const task = z
    .object({
      ...createTaskSchema({ maxPromptBytes }).shape,
      runAt: notGiven('the schedule says when'),
      idempotencyKey: notGiven('each due time makes one task'),
      dependsOn: notGiven('the tasks of a schedule wait for no others'),
      onDependencyFailure: notGiven('the tasks of a schedule wait for no others'),
    })
    .transform(
      ({ runAt: _when, idempotencyKey: _key, dependsOn: _tasks, onDependencyFailure: _policy, ...made }) => made,
    )
  return {
    create: z.object({
      name: nameText(scheduleLimits.nameLength),
      cron,
      timeZone: withDefault(timeZone, 'UTC'),
      task,
    }),
    update: z.object({
      id: z.string(),
      cron: cron.optional(),
      timeZone: timeZone.optional(),
      paused: z.boolean('must be true or false').optional(),
      task: task.optional(),
    }),
  }
}

function checkedText(maxLength: number, find: (text: string) => CronProblem | null) {
  return shortText(maxLength).superRefine((text, context) => {
    // What is too long is not looked at.
    const found = text.length > maxLength * 2 ? null : find(text)
    if (found !== null)
      context.addIssue({ code: 'custom', message: found.message, params: { suggestion: found.suggestion } })
  })
}

/** Null and an empty list are as good as nothing. */
function notGiven(why: string) {
  return z
    .unknown()
    .refine((value) => value == null || (Array.isArray(value) && value.length === 0), `must not be given: ${why}`)
    .optional()
}
