import { Cron } from 'croner'

/**
 * The due times of a cron expression in a time zone, to the minute. Across a change of the clocks (as Vixie cron and croner): an expression with
 * one minute and one hour comes once on every day that it names, after the gap when its time is skipped, the first time when it comes
 * twice; every other expression goes by the clock on the wall, so what is skipped is left out, and what comes twice comes twice.
 */
export interface CronTimes {
  /** The first due time after it; null when there is none any more. */
  next(after: Date): Date | null
  /** The last due time that is not after it. */
  latest(notAfter: Date): Date | null
}

/** Throws what croner throws when the expression or the time zone is not one; see the two checks below. */
export function createCronTimes(cron: string, timeZone: string): CronTimes {
  const times = new Cron(cron, { timezone: timeZone, mode: '5-part' })
  return {
    next: (after) => times.nextRun(after),
    // `previousRuns` looks strictly before.
    latest: (notAfter) => times.previousRuns(1, new Date(notAfter.getTime() + 1))[0] ?? null,
  }
}

/** What is wrong, beginning with "must", and what to do about it. Neither contains what was given. */
export type CronProblem = { message: string; suggestion: string }

const nicknames = new Set(['@yearly', '@annually', '@monthly', '@weekly', '@daily', '@hourly'])
const fields = [
  'minute (0-59)',
  'hour (0-23)',
  'day of month (1-31)',
  'month (1-12 or JAN-DEC)',
  'day of week (0-7 or SUN-SAT)',
]
const example =
  'For example "0 9 * * MON-FRI" is nine o’clock from Monday to Friday, "*/15 * * * *" every quarter of an hour.'

/** The expression as it is stored: one space between its fields. */
export function tidyCron(cron: string): string {
  return cron.trim().split(/\s+/).join(' ')
}

export function findCronProblem(cron: string): CronProblem | null {
  const parts = tidyCron(cron).split(' ')
  const isNickname = parts.length === 1 && nicknames.has(cron.trim().toLowerCase())
  if (!isNickname) {
    if (parts.length === 6)
      return problem(
        'must have five fields, not six',
        'Leave the seconds out: a schedule is due once a minute at most.',
      )
    if (parts.length !== fields.length)
      return problem('must have five fields: minute, hour, day of month, month, day of week', example)
    const wrong = fields.find((_, index) => !isReadable(onlyField(parts[index] ?? '', index)))
    if (wrong !== undefined) return problem(`must have a valid ${wrong}`, example)
  }
  // It is looked for over the next thousands of years: some 20 ms when there is none.
  const comes = isReadable(cron) && createCronTimes(cron, 'UTC').next(epoch) !== null
  return comes ? null : problem('must name a time that comes', 'There is no 30 February, for example.')
}

const epoch = new Date(0)
const maxSuggestedZones = 3
// Without a colon: croner would take it for a date. No offsets: they have no summer time, and not every version of Node.js has them.
const zoneName = /^[a-z][a-z0-9_+/-]{0,63}$/i

export function findTimeZoneProblem(timeZone: string): CronProblem | null {
  if (zoneName.test(timeZone) && isTimeZone(timeZone)) return null
  const wanted = timeZone.trim().toLowerCase().replaceAll(' ', '_')
  const alike = Intl.supportedValuesOf('timeZone').filter(
    (name) => wanted.length > 2 && name.toLowerCase().includes(wanted),
  )
  const names = alike.length === 0 ? ['Europe/Berlin', 'America/New_York', 'UTC'] : alike.slice(0, maxSuggestedZones)
  return problem('must be a name of the IANA time zone database', `For example: ${names.join(', ')}.`)
}

function isTimeZone(name: string): boolean {
  return doesNotThrow(() => new Intl.DateTimeFormat('en', { timeZone: name }))
}

function onlyField(field: string, index: number): string {
  return fields.map((_, other) => (other === index ? field : '*')).join(' ')
}

function isReadable(cron: string): boolean {
  return !cron.includes(':') && doesNotThrow(() => createCronTimes(cron, 'UTC'))
}

// The only answer that croner and Intl give is to throw.
function doesNotThrow(attempt: () => unknown): boolean {
  try {
    attempt()
    return true
  } catch {
    return false
  }
}

function problem(message: string, suggestion: string): CronProblem {
  return { message, suggestion }
}
