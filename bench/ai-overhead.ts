/*
 * What the AI client costs over the bare SDK, against the same upstream, taking turns. See README.md in this folder.
 */
import { measureLateness, measureLatencies, measureThroughput, type Named, type Times } from './ai-overhead/measure.ts'
import { judge, quantile, throughputTable, timesTable, type Judged } from './ai-overhead/report.ts'
import { openWays, type Ask, type Ways } from './ai-overhead/ways.ts'
import { loadAverages, machineFacts } from './first-token/report.ts'
import { stopRequest } from './stop-request.ts'

const rounds = { counted: 400, warmUp: 60 } as const
const load = { streams: 100, seconds: 4 } as const
const goals = { clientMs: 0.3, redisMs: 1, budgetMs: 5, cachedMs: 1.5, lateMs: 20 } as const
/** What the whole program may take, should something hang. */
const hardLimitMs = 240_000

const names = {
  sdk: 'openai SDK',
  client: 'AI client',
  redis: 'AI client, Redis',
  budget: 'AI client, Redis, budget',
  cached: 'answer from the cache',
} as const

async function main(stopped: Promise<never>): Promise<void> {
  console.log(machineFacts())
  console.log(`Load averages before: ${loadAverages()}\n`)
  await using ways = await openWays()
  const judged = await Promise.race([measureAll(ways), stopped])
  console.log(`\nLoad averages after: ${loadAverages()}`)
  if (!judge(judged)) process.exitCode = 1
}

async function measureAll(ways: Ways): Promise<Judged[]> {
  const shared: Named = ways.redis === null ? [] : [[names.redis, ways.redis]]
  const plain: Named = [[names.sdk, ways.sdk], [names.client, ways.client], ...shared]
  const all = [...plain, ...named(names.budget, ways.budget), ...named(names.cached, ways.cached)]

  console.log(`One short answer at a time, ${rounds.counted} rounds, in turns (ms)`)
  const latencies = await measureLatencies(all, rounds)
  console.log(timesTable(latencies, 0.5))

  const { streams, seconds } = load
  console.log(
    `\n${streams} streams of 50 chunks a second at once for ${seconds} s, twice: from the upstream to the reader (ms)`,
  )
  const lateness = await measureLateness(plain, load)
  console.log(timesTable(lateness, 0.99))

  console.log('\n20 chunks as fast as they come, 50 at once')
  const bare: Named = [
    ['fetch, nothing parsed', ways.fetch],
    ['SDK, nothing parsed', ways.response],
  ]
  console.log(throughputTable(await measureThroughput([...bare, ...plain])))
  return judgements(latencies, lateness)
}

function named(name: string, ask: Ask | null): Named {
  if (ask === null) console.log(`Not measured, because a server is missing here: ${name}`)
  return ask === null ? [] : [[name, ask]]
}

function judgements(latencies: Times, lateness: Times): Judged[] {
  const median = (name: string): number => quantile(latencies.get(name) ?? [], 0.5)
  const late = (name: string): number => quantile(lateness.get(name) ?? [], 0.99)
  const over = (name: string, goalMs: number): Judged[] =>
    latencies.has(name) ? [{ what: `${name}, p50 over the SDK`, ms: median(name) - median(names.sdk), goalMs }] : []
  const later = (name: string): Judged[] =>
    lateness.has(name)
      ? [{ what: `chunks of ${name}, p99 over the SDK`, ms: late(name) - late(names.sdk), goalMs: goals.lateMs }]
      : []
  return [
    ...over(names.client, goals.clientMs),
    ...over(names.redis, goals.redisMs),
    ...over(names.budget, goals.budgetMs),
    ...(latencies.has(names.cached)
      ? [{ what: `${names.cached}, p50 in all`, ms: median(names.cached), goalMs: goals.cachedMs }]
      : []),
    ...later(names.client),
    ...later(names.redis),
  ]
}

try {
  await main(stopRequest(hardLimitMs))
} catch (error) {
  console.error(error)
  process.exitCode = 1
}
