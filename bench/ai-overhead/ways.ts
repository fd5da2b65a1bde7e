import { fork } from 'node:child_process'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import OpenAI from 'openai'
import { z } from 'zod'
import { createAiClient, type AiClient } from '../../src/ai/ai-client.ts'
import { workspaceScope, type CallScope, type ModelRequest } from '../../src/ai/model-call.ts'
import { createBudgetGate } from '../../src/features/budgets/budget-gate.ts'
import { createBudgetKnowledge } from '../../src/features/budgets/budget-knowledge.ts'
import { createBudgetStore } from '../../src/features/budgets/budget-store.ts'
import { createCleanup, type Cleanup } from '../../src/lib/cleanup.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { newId } from '../../src/lib/ids.ts'
import { sleep } from '../../src/lib/sleep.ts'
import { createRedisCache } from '../../src/platform/cache/redis.ts'
import { createRedisCircuitBreakers } from '../../src/platform/circuit-breaker/redis.ts'
import { createDatabase } from '../../src/platform/database/create-database.ts'
import type { Database } from '../../src/platform/database/database.ts'
import { createLogger } from '../../src/platform/logger.ts'
import { createRedisRateLimits } from '../../src/platform/rate-limit/redis.ts'
import { openRedis, type RedisServer } from '../../src/platform/redis/redis.ts'
import { findPostgres, startPostgresServer } from '../../tests/support/postgres-server.ts'
import { findRedis, startRedisServer } from '../../tests/support/redis-server.ts'

/** One whole answer of a model; `onChunk` is called with the moment at which the upstream wrote each chunk. */
export type Ask = (model: string, onChunk?: (wroteAtMs: number) => void) => Promise<void>

/** The ways to the same answer that are compared. What needs a server that this machine has not is null. */
export type Ways = AsyncDisposable & {
  /** The request alone, nothing parsed. */
  fetch: Ask
  /** The SDK's request, nothing parsed. */
  response: Ask
  sdk: Ask
  client: Ask
  /** Breakers and limits shared over Redis. */
  redis: Ask | null
  /** The same, and a hard budget in PostgreSQL. */
  budget: Ask | null
  /** The same question again and again, answered from Redis. */
  cached: Ask | null
}

const logger = createLogger({ level: 'silent' })
const limit = { requestsPerMinute: 1_000_000, tokensPerMinute: null }
const messages = [{ role: 'user' as const, content: 'Say hello.' }]

export async function openWays(): Promise<Ways> {
  const cleanup = createCleanup()
  try {
    const baseUrl = await startUpstream(cleanup)
    const options = clientOptions(baseUrl)
    const redis = await startRedis(cleanup)
    const db = redis === null ? null : await startDatabase(cleanup)
    const shared = redis === null ? null : openShared(redis, cleanup)
    const agent: CallScope = { kind: 'agent', id: newId(), rateLimit: limit }
    const open = (more: Partial<Parameters<typeof createAiClient>[0]>): AiClient => {
      const ai = createAiClient({ ...options, ...more })
      cleanup.add('a client', () => ai.close())
      return ai
    }
    const workspace = db === null ? null : await insertWorkspace(db)
    return {
      ...bareWays(baseUrl),
      client: askClient(open({}), [agent]),
      redis: shared === null ? null : askClient(open(shared.limiting), [agent]),
      budget:
        shared === null || db === null || workspace === null
          ? null
          : askClient(open({ ...shared.limiting, gates: [budgetGate(db)] }), [agent, workspace]),
      cached:
        shared === null
          ? null
          : askClient(open({ ...shared.limiting, responses: { cache: shared.cache, defaultTtlMs: 600_000 } }), [
              agent,
              workspaceScope(newId()),
            ]),
      [Symbol.asyncDispose]: () => cleanup.run(10_000),
    }
  } catch (error) {
    await cleanup.run(10_000)
    throw error
  }
}

async function startUpstream(cleanup: Cleanup): Promise<string> {
  const upstream = fork(new URL('./upstream.ts', import.meta.url), { execArgv: ['--import', 'tsx'] })
  cleanup.add('the upstream', async () => void upstream.kill())
  const [message] = await once(upstream, 'message')
  return `http://127.0.0.1:${z.object({ port: z.number() }).parse(message).port}/v1`
}

async function startRedis(cleanup: Cleanup): Promise<RedisServer | null> {
  const program = findRedis()
  if (program === null) return null
  const server = await startRedisServer(program)
  cleanup.add('Redis', async () => server[Symbol.asyncDispose]())
  return openRedis({ url: server.url, clock: systemClock, logger, random: Math.random })
}

function openShared(redis: RedisServer, cleanup: Cleanup) {
  const breakers = createRedisCircuitBreakers({ redis, clock: systemClock, newId, logger })
  const rateLimits = createRedisRateLimits({ redis, clock: systemClock, logger })
  const cache = createRedisCache({ redis, clock: systemClock, logger })
  for (const connected of [breakers, rateLimits, cache]) cleanup.add('a connection', () => connected.close())
  return { limiting: { breakers, rateLimits }, cache }
}

/** Waits for the disk with every commit. */
async function startDatabase(cleanup: Cleanup): Promise<Database | null> {
  const programs = findPostgres()
  if (programs === null) return null
  const server = await startPostgresServer(programs, { isDurable: true })
  cleanup.add('PostgreSQL', async () => server[Symbol.asyncDispose]())
  const db = await createDatabase({
    url: await server.createDatabase(),
    poolSize: 10,
    dataDirectory: tmpdir(),
    clock: systemClock,
    logger,
    random: Math.random,
    sleep,
    onCrash(error) {
      throw error
    },
  })
  cleanup.add('the database', () => db.close())
  return db
}

/** A workspace with a hard budget that is never used up. */
async function insertWorkspace(db: Database): Promise<CallScope> {
  const [userId, id, budgetId] = [newId(), newId(), newId()]
  await db.prisma.user.create({ data: { id: userId, email: `${userId}@example.com`, passwordHash: '-' } })
  await db.prisma.workspace.create({
    data: {
      id,
      name: 'Personal',
      personalOfId: userId,
      counter: { create: {} },
      members: { create: { id: newId(), userId, role: 'OWNER' } },
    },
  })
  await db.prisma.budget.create({
    data: { id: budgetId, workspaceId: id, period: 'DAY', limitNanoUsd: 1_000_000_000_000_000n, hard: true },
  })
  return workspaceScope(id)
}

function budgetGate(db: Database) {
  const knowledge = createBudgetKnowledge({ db, clock: systemClock })
  return createBudgetGate({ store: createBudgetStore({ db }), knowledge, clock: systemClock, logger })
}

function clientOptions(baseUrl: string) {
  const price = { inputUsd: 1, cachedInputUsd: null, outputUsd: 2 }
  return {
    providers: [{ name: 'up', baseUrl, apiKey: 'none', rateLimit: limit }],
    defaultModels: ['up/short'],
    aliases: {},
    timeouts: {},
    prices: { 'up/short': price },
    clock: systemClock,
    newId,
    random: Math.random,
    logger,
  }
}

function bareWays(baseUrl: string): Pick<Ways, 'fetch' | 'response' | 'sdk'> {
  const sdk = new OpenAI({ apiKey: 'none', baseURL: baseUrl, maxRetries: 0 })
  const body = (model: string) => ({ model, messages, stream: true as const, stream_options: { include_usage: true } })
  return {
    async fetch(model) {
      const headers = { 'content-type': 'application/json' }
      const init = { method: 'POST', headers, body: JSON.stringify(body(model)) }
      const response = await fetch(`${baseUrl}/chat/completions`, init)
      for await (const _ of response.body ?? []) continue
    },
    async response(model) {
      const response = await sdk.chat.completions.create(body(model)).asResponse()
      for await (const _ of response.body ?? []) continue
    },
    async sdk(model, onChunk) {
      for await (const chunk of await sdk.chat.completions.create(body(model))) {
        const text = chunk.choices[0]?.delta.content
        if (typeof text === 'string' && text !== '') onChunk?.(Number(text))
      }
    },
  }
}

function askClient(ai: AiClient, scopes: readonly CallScope[]): Ask {
  return async (model, onChunk) => {
    const request: ModelRequest = {
      models: [`up/${model}`],
      messages,
      temperature: 0,
      maxOutputTokens: null,
      outputSchema: null,
      onInterrupt: 'RESTART',
    }
    for await (const event of ai.stream(request, { signal: new AbortController().signal, scopes })) {
      if (event.type === 'delta') onChunk?.(Number(event.text))
    }
  }
}
