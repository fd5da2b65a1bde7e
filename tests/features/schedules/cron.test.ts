import { describe, expect, test } from 'vitest'
import {
  createCronTimes,
  findCronProblem,
  findTimeZoneProblem,
  tidyCron,
} from '../../../src/features/schedules/cron.ts'

/** The next `count` due times after `from`. */
function list(cron: string, from: string, { timeZone = 'Europe/Berlin', count = 3 } = {}): string[] {
  const times = createCronTimes(cron, timeZone)
  const found: string[] = []
  for (let at = new Date(from); found.length < count;) {
    const next = times.next(at)
    if (next === null) break
    found.push(next.toISOString())
    at = next
  }
  return found
}

test('names times by the clocks of its zone', () => {
  expect(list('0 9 * * MON-FRI', '2026-05-01T12:00:00Z')).toEqual([
    '2026-05-04T07:00:00.000Z',
    '2026-05-05T07:00:00.000Z',
    '2026-05-06T07:00:00.000Z',
  ])
  expect(list('0 9 * * *', '2026-05-01T12:00:00Z', { timeZone: 'Asia/Kolkata', count: 1 })).toEqual([
    '2026-05-02T03:30:00.000Z',
  ])
})

describe('when the clocks go forward (Berlin, 29 March 2026, from 2:00 to 3:00)', () => {
  const before = '2026-03-28T12:00:00Z'

  test('a daily time that is skipped comes at the end of the gap, once', () => {
    expect(list('30 2 * * *', before)).toEqual([
      '2026-03-29T01:00:00.000Z',
      '2026-03-30T00:30:00.000Z',
      '2026-03-31T00:30:00.000Z',
    ])
  })

  test('times of every hour are left out with it', () => {
    expect(list('30 1-3 * * *', '2026-03-28T23:00:00Z')).toEqual([
      '2026-03-29T00:30:00.000Z',
      '2026-03-29T01:30:00.000Z',
      '2026-03-29T23:30:00.000Z',
    ])
  })
})

describe('when the clocks go back (Berlin, 25 October 2026, from 3:00 to 2:00)', () => {
  test('a daily time that comes twice is due the first time', () => {
    expect(list('30 2 * * *', '2026-10-24T12:00:00Z', { count: 2 })).toEqual([
      '2026-10-25T00:30:00.000Z',
      '2026-10-26T01:30:00.000Z',
    ])
  })

  test('times of every hour are due both times', () => {
    expect(list('30 * * * *', '2026-10-24T23:45:00Z')).toEqual([
      '2026-10-25T00:30:00.000Z',
      '2026-10-25T01:30:00.000Z',
      '2026-10-25T02:30:00.000Z',
    ])
  })
})

test.each([
  ['*/15 * * * *', 'Europe/Berlin'],
  ['30 2 * * *', 'Europe/Berlin'],
  ['0 */3 * * *', 'America/New_York'],
  ['5 4 * * SUN', 'Australia/Lord_Howe'],
  ['0 0 L * *', 'Asia/Kathmandu'],
])('the latest due time is the one that was next before (%s in %s)', (cron, timeZone) => {
  const times = createCronTimes(cron, timeZone)
  for (let day = 0; day < 400; day += 1) {
    const from = new Date(Date.UTC(2026, 0, 1 + day, 23 - (day % 24), (day * 7) % 60))
    const next = times.next(from)
    if (next === null) throw new Error('it always comes again')
    expect(times.latest(next)).toEqual(next)
    expect(times.latest(new Date(next.getTime() + 59_999))).toEqual(next)
    expect(times.latest(new Date(next.getTime() - 1))?.getTime()).toBeLessThanOrEqual(from.getTime())
  }
})

test.each([
  '* * * * *',
  '0 9 * * MON-FRI',
  '0 0 29 2 *',
  '0 9 L * *',
  '0 9 * * 5#2',
  ' 0  9 * *\t1 ',
  '@daily',
  '@Hourly',
])('accepts %s', (cron) => {
  expect(findCronProblem(cron)).toBe(null)
})

test.each([
  ['', 'must have five fields: minute, hour, day of month, month, day of week'],
  ['* * * *', 'must have five fields: minute, hour, day of month, month, day of week'],
  ['*/5 * * * * *', 'must have five fields, not six'],
  ['60 * * * *', 'must have a valid minute (0-59)'],
  ['0 24 * * *', 'must have a valid hour (0-23)'],
  ['0 0 32 * *', 'must have a valid day of month (1-31)'],
  ['0 0 1 13 *', 'must have a valid month (1-12 or JAN-DEC)'],
  ['0 0 * * FUNDAY', 'must have a valid day of week (0-7 or SUN-SAT)'],
  ['*/0 * * * *', 'must have a valid minute (0-59)'],
  ['0 0 30 2 *', 'must name a time that comes'],
  ['@reboot', 'must have five fields: minute, hour, day of month, month, day of week'],
  ['2030-01-23T00:00:00', 'must have five fields: minute, hour, day of month, month, day of week'],
  ['0 9:30 * * *', 'must have a valid hour (0-23)'],
])('refuses %j', (cron, message) => {
  expect(findCronProblem(cron)).toMatchObject({ message })
  expect(findCronProblem(cron)?.suggestion).toMatch(/\w/)
})

test('writes an expression with one space between its fields', () => {
  expect(tidyCron('\t0   9 * *  MON ')).toBe('0 9 * * MON')
})

test.each(['UTC', 'Europe/Berlin', 'America/Argentina/Buenos_Aires', 'Etc/GMT+5', 'US/Pacific'])('knows %s', (zone) => {
  expect(findTimeZoneProblem(zone)).toBe(null)
})

test.each(['', 'Mars/Olympus_Mons', '+02:00', 'Europe/Berlin ', 'local', '../etc/passwd'])(
  'does not know %j',
  (zone) => {
    expect(findTimeZoneProblem(zone)).toMatchObject({ message: 'must be a name of the IANA time zone database' })
  },
)

test('suggests time zones that are called alike', () => {
  expect(findTimeZoneProblem('new york')?.suggestion).toBe('For example: America/New_York.')
  expect(findTimeZoneProblem('nowhere')?.suggestion).toBe('For example: Europe/Berlin, America/New_York, UTC.')
})
