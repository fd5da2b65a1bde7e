/*
 * Hints over Redis: how long one takes to its handler at 50/s, and how many go through; beside a bare BullMQ queue and worker.
 * `npx tsx bench/dispatch.ts` starts a Redis of its own.
 */
import { Queue, Worker } from 'bullmq'
import { systemClock } from '../src/lib/clock.ts'
import { createBullmqDispatch } from '../src/platform/dispatch/bullmq.ts'
import { createLogger } from '../src/platform/logger.ts'
import { openRedis } from '../src/platform/redis/redis.ts'
import { findRedis, startRedisServer } from '../tests/support/redis-server.ts'

/** Something that takes texts and delivers them elsewhere. */
type Line = { send(text: string): Promise<void>; close(): Promise<void> }
type OpenLine = (deliver: (text: string) => void) => Promise<Line>

const latencySamples = 500
const latencyIntervalMs = 20
const throughputCount = 10_000
const throughputInFlight = 100

const program = findRedis()
if (program === null) process.exit(1)
await using server = await startRedisServer(program)

async function hints(deliver: (text: string) => void): Promise<Line> {
  const logger = createLogger({ level: 'warn' })
  const redis = await openRedis({ url: server.url, clock: systemClock, logger, random: Math.random })
  const options = { redis, logger, maxWaitingPerWorkspace: 50, onError: console.error }
  const [here, there] = [await createBullmqDispatch(options), await createBullmqDispatch(options)]
  there.consume(async (workspaceId) => deliver(workspaceId))
  return { send: (text) => here.hint(text), close: async () => void (await Promise.all([here.close(), there.close()])) }
}

async function bareBullmq(deliver: (text: string) => void): Promise<Line> {
  const connection = { host: '127.0.0.1', port: server.port, maxRetriesPerRequest: null }
  const queue = new Queue<string>('bare', { connection, defaultJobOptions: { removeOnComplete: true } })
  const worker = new Worker<string>('bare', async (job) => deliver(job.data), { connection })
  await worker.waitUntilReady()
  return {
    send: async (text) => void (await queue.add('bare', text)),
    close: async () => void (await Promise.all([queue.close(), worker.close()])),
  }
}

async function measureLatency(open: OpenLine): Promise<readonly number[]> {
  const sent = new Map<string, number>()
  const delays: number[] = []
  const line = await open((text) => delays.push(performance.now() - (sent.get(text) ?? 0)))
  for (let n = 0; n < latencySamples; n += 1) {
    sent.set(`workspace-${n}`, performance.now())
    await line.send(`workspace-${n}`)
    await new Promise((resolve) => setTimeout(resolve, latencyIntervalMs))
  }
  await line.close()
  return delays.toSorted((a, b) => a - b)
}

async function measureThroughput(open: OpenLine): Promise<number> {
  let delivered = 0
  let finish = (): void => {}
  const finished = new Promise<void>((resolve) => (finish = resolve))
  const line = await open(() => {
    delivered += 1
    if (delivered === throughputCount) finish()
  })
  const startedMs = performance.now()
  let next = 0
  const sender = async (): Promise<void> => {
    while (next < throughputCount) await line.send(`workspace-${(next += 1)}`)
  }
  await Promise.all(Array.from({ length: throughputInFlight }, sender))
  await finished
  const perSecond = throughputCount / ((performance.now() - startedMs) / 1_000)
  await line.close()
  return perSecond
}

for (const [name, open] of [
  ['hints', hints],
  ['bare BullMQ', bareBullmq],
] as const) {
  const delays = await measureLatency(open)
  const at = (share: number): string => (delays[Math.floor(delays.length * share)] ?? NaN).toFixed(1)
  const perSecond = Math.round(await measureThroughput(open))
  console.log(`${name.padEnd(12)} p50 ${at(0.5)} ms   p99 ${at(0.99)} ms   ${perSecond}/s`)
}
