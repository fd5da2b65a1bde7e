import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { describe, expect, test } from 'vitest'
import { findClusterPrograms, startCluster } from '../support/cluster.ts'
import { createSubmitter } from '../support/first-task.ts'
import { until } from '../support/until.ts'

const programs = findClusterPrograms()
const schedules = 40
const rounds = 12

describe.skipIf(programs === null)('schedules', () => {
  test('each due time has one task, though processes are killed while they fire', { timeout: 300_000 }, async () => {
    if (programs === null) throw new Error('the suite is skipped without its programs')
    await using cluster = await startCluster(programs, { apis: 1, workers: 3 })
    const [api] = cluster.apis
    if (api === undefined) throw new Error('an API was asked for')
    const { token, agentId } = await createSubmitter(api.client)
    const mutate = (name: string, type: string, input: Record<string, unknown>) =>
      api.client.data(`mutation ($input: ${type}!) { ${name}(input: $input) { __typename } }`, { input }, { token })
    // Its tasks wait: only who makes them matters.
    await mutate('pauseAgent', 'AgentInput', { id: agentId })
    for (let n = 0; n < schedules; n += 1) {
      const task = { agentId, prompt: 'Go.' }
      await mutate('createSchedule', 'CreateScheduleInput', { name: `S${n}`, cron: '0 0 1 1 *', task })
    }
    const db = new pg.Client({ connectionString: cluster.databaseUrl })
    await db.connect()
    const countDue = async (): Promise<number> => {
      const { rows } = await db.query<{ due: number }>(
        'SELECT count(*)::int AS due FROM schedule WHERE next_run_at <= now()',
      )
      return rows[0]?.due ?? 0
    }

    for (let round = 1; round <= rounds; round += 1) {
      // As if the clock had moved on, to a time that every process sees as due at once.
      await db.query('UPDATE schedule SET next_run_at = $1', [dueTime(round)])
      // Every third round one of them dies, a little later each time.
      const victim = round % 3 === 0 ? cluster.workers[round / 3 - 1] : undefined
      if (victim !== undefined) {
        await delay(round * 4)
        await victim.kill('SIGKILL')
      }
      await until('all are fired', countDue, (due) => due === 0, 60_000)
    }

    const { rows } = await db.query<{ times: Date[] }>(
      'SELECT array_agg(scheduled_for ORDER BY scheduled_for) AS times FROM task GROUP BY schedule_id',
    )
    await db.end()
    const all = Array.from({ length: rounds }, (_, index) => dueTime(index + 1))
    expect(rows).toEqual(Array.from({ length: schedules }, () => ({ times: all })))
  })
})

function dueTime(round: number): Date {
  return new Date(Date.UTC(2026, 5, round))
}
