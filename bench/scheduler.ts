/*
 * From submit to running at a steady pace, and tasks per second when saturated, on PostgreSQL and Redis, beside bare BullMQ with two inserts
 * per job. See README.md.
 */
import { startChildProcess } from '../tests/support/child-process.ts'
import { findPostgres, startPostgresServer } from '../tests/support/postgres-server.ts'
import { findRedis, startRedisServer } from '../tests/support/redis-server.ts'
import { loadAverages, machineFacts, watchBusy } from './first-token/report.ts'
import { startBareBullmq } from './scheduler/bare-bullmq.ts'
import type { Contestant } from './scheduler/contestant.ts'
import { measureLatencies, measureThroughput } from './scheduler/measure.ts'
import { startMonk } from './scheduler/monk.ts'
import { stopRequest } from './stop-request.ts'
import { goals, latencyTable, missedGoals, throughputTable, type Result } from './scheduler/report.ts'

/** Submitted at this pace, whatever becomes of it. */
const pace = { perSecond: 50, seconds: 10 } as const
/** Submitted as fast as they are accepted, with so many calls under way. */
const load = { count: 2_000, inFlight: 32 } as const
const rounds = 3
const chunks = 20
/** One process of each kind: the machine has two processors. */
const shape = { workers: 1, concurrency: 50, agents: 20 } as const
/** What the whole program may take, should something hang. */
const hardLimitMs = 420_000

async function main(stopped: Promise<never>): Promise<void> {
  const postgresPrograms = findPostgres()
  const redisProgram = findRedis()
  if (postgresPrograms === null || redisProgram === null)
    throw new Error('PostgreSQL and Redis are needed: programs named postgres, initdb and redis-server')
  console.log(machineFacts())
  console.log(`Load averages before: ${loadAverages()}\n`)
  await using postgres = await startPostgresServer(postgresPrograms, { isDurable: true })
  await using redis = await startRedisServer(redisProgram)
  await using upstream = startChildProcess(new URL('scheduler/upstream.ts', import.meta.url), [String(chunks)])
  await using monk = await startMonk({
    ...shape,
    databaseUrl: await postgres.createDatabase(),
    redisPort: redis.port,
    upstreamUrl: await upstream.nextLine(),
    apis: 1,
    outputLength: Array.from({ length: chunks }, (_, index) => `chunk ${index + 1} `).join('').length,
    maxConnections: load.inFlight,
  })
  await using bare = await startBareBullmq({
    ...shape,
    databaseUrl: await postgres.createDatabase(),
    redisPort: redis.port,
  })
  const results = await Promise.race([measureAll([bare, monk]), stopped])
  for (const complaint of monk.complaints()) console.log(`Logged: ${complaint}`)
  console.log(`Load averages after: ${loadAverages()}`)
  judge(results)
}

/** In turns, so that what the machine does besides falls on both. */
async function measureAll(contestants: readonly Contestant[]): Promise<Result[]> {
  const results = contestants.map(({ name }): Result => ({ name, latencies: [], throughputs: [] }))
  const each = async (
    measure: (contestant: Contestant, result: Result | undefined) => Promise<void>,
  ): Promise<void> => {
    for (const [index, contestant] of contestants.entries()) await measure(contestant, results[index])
  }

  // Code that was never run is slow; nobody is judged by it. Some thousand runs make it fast.
  await each(async (contestant) => {
    await measureThroughput(contestant, load)
    await measureLatencies(contestant, pace)
  })
  let busy = watchBusy()
  for (let round = 0; round < rounds; round += 1)
    await each(async (contestant, result) => void result?.latencies.push(await measureLatencies(contestant, pace)))
  console.log(`At ${pace.perSecond} a second, ms (processors ${percent(busy().machine)} busy)`)
  console.log(`${latencyTable(results)}\n`)
  busy = watchBusy()
  for (let round = 0; round < rounds; round += 1)
    await each(async (contestant, result) => void result?.throughputs.push(await measureThroughput(contestant, load)))
  console.log(`Saturated, a second, in each of ${rounds} rounds (processors ${percent(busy().machine)} busy)`)
  console.log(`${throughputTable(results)}\n`)
  return results
}

function judge(results: readonly Result[]): void {
  const missed = results.filter(({ name }) => name === 'Monk-AI').flatMap(missedGoals)
  const { toRunningP50Ms, toRunningP99Ms, tasksPerSecond } = goals
  const goal = `running within ${toRunningP50Ms} ms (p50) and ${toRunningP99Ms} ms (p99), and ${tasksPerSecond} tasks/s`
  console.log(`Goal: ${goal}: ${missed.length === 0 ? 'met' : 'MISSED'}`)
  for (const what of missed) console.log(`  ${what}`)
  if (missed.length > 0) process.exitCode = 1
}

const percent = (part: number): string => `${Math.round(part * 100)} %`

try {
  await main(stopRequest(hardLimitMs))
} catch (error) {
  console.error(error)
  process.exitCode = 1
}
