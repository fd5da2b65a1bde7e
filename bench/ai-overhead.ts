import { fork } from 'node:child_process'
import { once } from 'node:events'
import OpenAI from 'openai'
import { z } from 'zod'
import { createAiClient, type AiClient } from '../src/ai/ai-client.ts'
import { systemClock } from '../src/lib/clock.ts'
import { newId } from '../src/lib/ids.ts'
import { createRedisCircuitBreakers } from '../src/platform/circuit-breaker/redis.ts'
import { createLogger } from '../src/platform/logger.ts'
import { createRedisRateLimits } from '../src/platform/rate-limit/redis.ts'
import { openRedis } from '../src/platform/redis/redis.ts'
import { findRedis, startRedisServer } from '../tests/support/redis-server.ts'

// What the AI client costs over the bare SDK, against the same upstream, taking turns. See README.md in this folder.

const rounds = 400
const warmUps = 60
const streams = 100
const streamSeconds = 4
const goals = { localMs: 0.3, redisMs: 1, lateMs: 20 }

/** One whole answer; `onChunk` is called with the moment at which the upstream wrote each chunk. */
type Ask = (model: string, onChunk?: (wroteAtMs: number) => void) => Promise<void>

const upstream = fork(new URL('./ai-overhead/upstream.ts', import.meta.url), { execArgv: ['--import', 'tsx'] })
const [message] = await once(upstream, 'message')
const { port } = z.object({ port: z.number() }).parse(message)
const baseUrl = `http://127.0.0.1:${port}/v1`
const logger = createLogger({ level: 'silent' })
const common = {
  providers: [
    { name: 'up', baseUrl, apiKey: 'none', rateLimit: { requestsPerMinute: 1_000_000, tokensPerMinute: null } },
  ],
  defaultModels: ['up/short'],
  aliases: {},
  timeouts: {},
  clock: systemClock,
  newId,
  random: Math.random,
  logger,
}

const program = findRedis()
const server = program === null ? null : await startRedisServer(program)
const redis =
  server === null ? null : await openRedis({ url: server.url, clock: systemClock, logger, random: Math.random })
const shared =
  redis === null
    ? null
    : {
        breakers: createRedisCircuitBreakers({ redis, clock: systemClock, newId, logger }),
        rateLimits: createRedisRateLimits({ redis, clock: systemClock, logger }),
      }

const sdk = new OpenAI({ apiKey: 'none', baseURL: baseUrl, maxRetries: 0 })
const askSdk: Ask = async (model, onChunk) => {
  const messages = [{ role: 'user' as const, content: 'Say hello.' }]
  const chunks = await sdk.chat.completions.create({
    model,
    messages,
    stream: true,
    stream_options: { include_usage: true },
  })
  for await (const chunk of chunks) {
    const text = chunk.choices[0]?.delta.content
    if (typeof text === 'string' && text !== '') onChunk?.(Number(text))
  }
}
const local = createAiClient(common)
const withRedis = shared === null ? null : createAiClient({ ...common, ...shared })
const scopes = [{ kind: 'agent' as const, id: 'a', rateLimit: { requestsPerMinute: 1_000_000, tokensPerMinute: null } }]
const askWith =
  (ai: AiClient): Ask =>
  async (model, onChunk) => {
    const request = {
      models: [`up/${model}`],
      messages: [{ role: 'user' as const, content: 'Say hello.' }],
      temperature: null,
      maxOutputTokens: null,
      outputSchema: null,
      onInterrupt: 'RESTART' as const,
    }
    for await (const event of ai.stream(request, { signal: new AbortController().signal, scopes })) {
      if (event.type === 'delta') onChunk?.(Number(event.text))
    }
  }

const ways: [string, Ask][] = [
  ['openai SDK', askSdk],
  ['AI client', askWith(local)],
]
if (withRedis !== null) ways.push(['AI client, Redis', askWith(withRedis)])

console.log(`One short answer at a time, ${rounds} rounds, in turns (ms)`)
const latency = await compareLatency()
console.log(
  `\n${streams} streams of 50 chunks a second at once: how long a chunk took from the upstream to the reader (ms)`,
)
const lateness = await compareStreams()
console.log('\n20 chunks as fast as they come, 50 at once')
await compareThroughput()
finish()

async function compareLatency(): Promise<Map<string, number>> {
  const times = new Map<string, number[]>(ways.map(([name]) => [name, []]))
  for (let round = -warmUps; round < rounds; round += 1) {
    // Another one begins each time, so that none always follows the same.
    for (let turn = 0; turn < ways.length; turn += 1) {
      const [name, ask] = ways[(turn + round + warmUps) % ways.length] ?? ways[0] ?? ['', askSdk]
      const startedMs = performance.now()
      await ask('short')
      if (round >= 0) times.get(name)?.push(performance.now() - startedMs)
    }
  }
  const base = quantile(times.get('openai SDK') ?? [], 0.5)
  return report(times, (list) => quantile(list, 0.5) - base)
}

async function compareStreams(): Promise<Map<string, number>> {
  const delays = new Map<string, number[]>(ways.map(([name]) => [name, []]))
  for (let turn = 0; turn < 2; turn += 1) {
    for (const [name, ask] of turn % 2 === 0 ? ways : ways.toReversed()) {
      const note = (wroteAtMs: number): void => {
        delays.get(name)?.push(performance.timeOrigin + performance.now() - wroteAtMs)
      }
      await Promise.all(Array.from({ length: streams }, () => ask(`paced-${streamSeconds * 50}`, note)))
    }
  }
  const base = quantile(delays.get('openai SDK') ?? [], 0.99)
  return report(delays, (list) => quantile(list, 0.99) - base)
}

async function compareThroughput(): Promise<void> {
  const more: [string, Ask][] = [['fetch, nothing parsed', askFetch], ['SDK, nothing parsed', askResponse], ...ways]
  const perSecond = new Map<string, number[]>(more.map(([name]) => [name, []]))
  for (let turn = -1; turn < 4; turn += 1) {
    for (const [name, ask] of turn % 2 === 0 ? more : more.toReversed()) {
      const startedMs = performance.now()
      const cpuBefore = process.cpuUsage()
      let left = 400
      await Promise.all(
        Array.from({ length: 50 }, async () => {
          while (left-- > 0) await ask('burst-20')
        }),
      )
      const cpu = process.cpuUsage(cpuBefore)
      // The first turn warms up.
      if (turn >= 0)
        perSecond.get(name)?.push(400 / ((cpu.user + cpu.system) / 1e6), 400 / ((performance.now() - startedMs) / 1e3))
    }
  }
  for (const [name, values] of perSecond) {
    // What the machine does besides can only make a turn slower.
    const best = (parity: number): number => Math.max(...values.filter((_, index) => index % 2 === parity))
    console.log(
      `${name.padEnd(24)} ${best(0).toFixed(0).padStart(6)} streams per second of processor time, ${best(1).toFixed(0).padStart(6)} by the clock`,
    )
  }
}

async function askFetch(model: string): Promise<void> {
  const body = JSON.stringify({ model, messages: [], stream: true })
  const response = await fetch(`${baseUrl}/chat/completions`, { method: 'POST', body })
  for await (const _ of response.body ?? []) continue
}

async function askResponse(model: string): Promise<void> {
  const response = await sdk.chat.completions.create({ model, messages: [], stream: true }).asResponse()
  for await (const _ of response.body ?? []) continue
}

function report(measured: ReadonlyMap<string, number[]>, over: (list: number[]) => number): Map<string, number> {
  const result = new Map<string, number>()
  console.log(
    `${''.padEnd(24)}${'count'.padStart(8)}${'p10'.padStart(9)}${'p50'.padStart(9)}${'p99'.padStart(9)}${'max'.padStart(9)}${'over SDK'.padStart(12)}`,
  )
  for (const [name, list] of measured) {
    const figures = [quantile(list, 0.1), quantile(list, 0.5), quantile(list, 0.99), quantile(list, 1)].map((ms) =>
      ms.toFixed(2).padStart(9),
    )
    result.set(name, over(list))
    console.log(
      `${name.padEnd(24)}${String(list.length).padStart(8)}${figures.join('')}${over(list).toFixed(2).padStart(12)}`,
    )
  }
  return result
}

function finish(): void {
  const misses = [
    ['AI client', latency.get('AI client') ?? 0, goals.localMs],
    ['AI client, Redis', latency.get('AI client, Redis') ?? 0, goals.redisMs],
    ['chunks of the AI client', lateness.get('AI client') ?? 0, goals.lateMs],
    ['chunks of the AI client, Redis', lateness.get('AI client, Redis') ?? 0, goals.lateMs],
  ].filter(([, value, goal]) => Number(value) > Number(goal))
  for (const [name, value, goal] of misses)
    console.log(`${name}: ${Number(value).toFixed(2)} ms over the SDK; the goal is ${goal} ms`)
  console.log(misses.length === 0 ? '\nGoals: met' : '\nGoals: missed')
  process.exitCode = misses.length === 0 ? 0 : 1
}

function quantile(list: readonly number[], share: number): number {
  const sorted = list.toSorted((one, other) => one - other)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0
}

await Promise.all([local.close(), withRedis?.close()])
await Promise.all([shared?.breakers.close(), shared?.rateLimits.close()])
await server?.[Symbol.asyncDispose]()
upstream.kill()
