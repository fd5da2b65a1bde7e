import { expect, test } from 'vitest'
import type { CallScope, RateLimit } from '../../src/ai/model-call.ts'
import { unlimitedOutputTokens } from '../../src/ai/rate-limit-gate.ts'
import {
  answer,
  chunk,
  done,
  finish,
  httpError,
  startModelServer,
  stream,
  text,
  usage,
} from '../support/model-server.ts'
import { callModel, createTestAi, outcomes, requestFor } from './call-model.ts'

const requests = (requestsPerMinute: number): RateLimit => ({ requestsPerMinute, tokensPerMinute: null })
const tokens = (tokensPerMinute: number): RateLimit => ({ requestsPerMinute: null, tokensPerMinute })
const agent = (rateLimit: RateLimit): CallScope => ({ kind: 'agent', id: 'agent-1', rateLimit })

test('asks the next model when the limit of a provider’s key is used up, over all its models', async () => {
  await using first = await startModelServer()
  await using second = await startModelServer()
  const ai = createTestAi(
    {},
    {
      providers: [
        { name: 'a', baseUrl: first.baseUrl, apiKey: 'x', rateLimit: requests(2) },
        { name: 'b', baseUrl: second.baseUrl, apiKey: 'y' },
      ],
      defaultModels: ['a/m', 'b/m'],
    },
  )
  first.replyAlways(answer('good'))
  second.replyAlways(answer('good'))
  await callModel(ai)
  await callModel(ai, { models: ['a/other'] })

  expect(outcomes(await callModel(ai))).toEqual(['b/m succeeded'])
  expect(first.requests).toHaveLength(2)
})

test('limits one model of a provider, and waits for it when there is no other', async () => {
  await using server = await startModelServer()
  // A thousand tokens a second.
  const ai = createTestAi({ a: server }, { modelRateLimits: { 'a/m': tokens(60_000) } })
  server.reply(stream(chunk({ role: 'assistant' }), text('x'), finish(), usage(10, 59_990), done))
  server.replyAlways(answer('good'))
  await callModel(ai, { maxOutputTokens: 59_990 })
  const startedMs = performance.now()

  expect(outcomes(await callModel(ai, { maxOutputTokens: 1_000 }))).toEqual(['a/m succeeded'])
  // What came in since the first answer counts.
  expect(performance.now() - startedMs).toBeGreaterThanOrEqual(300)
  expect(outcomes(await callModel(ai, { models: ['a/other'] }))).toEqual(['a/other succeeded'])
})

test('fails with RATE_LIMITED, and asks no other model, when the agent’s limit is used up', async () => {
  await using first = await startModelServer()
  await using second = await startModelServer()
  const ai = createTestAi({ a: first, b: second })
  first.replyAlways(answer('good'))
  const call = async () => {
    const signal = new AbortController().signal
    for await (const event of ai.stream(requestFor('hi'), { signal, scopes: [agent(requests(1))] })) {
      if (event.type === 'finished') return event.answer.text
    }
    return null
  }
  expect(await call()).toBe('good')

  const error: unknown = await call().catch((thrown: unknown) => thrown)

  expect(error).toMatchObject({
    code: 'RATE_LIMITED',
    kind: 'rate_limit_exceeded',
    retryable: true,
    message: 'The limit of the agent is used up: 1 request a minute',
    attempts: [],
  })
  expect(error).toMatchObject({ retryAfterMs: expect.closeTo(60_000, -4) })
  expect(second.requests).toHaveLength(0)
})

test('holds all agents of a workspace together to its limit', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server }, { workspaceRateLimit: requests(2) })
  server.replyAlways(answer('good'))
  const noLimit = { requestsPerMinute: null, tokensPerMinute: null }
  const scopes = (n: number): CallScope[] => [
    { kind: 'workspace', id: 'w', rateLimit: noLimit },
    { kind: 'agent', id: `agent-${String(n)}`, rateLimit: requests(100) },
  ]
  const signal = new AbortController().signal
  const call = async (n: number): Promise<void> => {
    for await (const event of ai.stream(requestFor('hi'), { signal, scopes: scopes(n) }))
      if (event.type === 'finished') return
  }
  await call(1)
  await call(2)

  await expect(call(3)).rejects.toMatchObject({ code: 'RATE_LIMITED' })
})

test('reserves what an answer may have and corrects it by what it had', async () => {
  await using server = await startModelServer()
  // One call reserves 3 + 90 of 100 tokens, and uses 4 + 6 of them.
  const ai = createTestAi({ a: server }, { modelRateLimits: { 'a/m': tokens(100) }, timeouts: { totalMs: 1_000 } })
  server.replyAlways(stream(chunk({ role: 'assistant' }), text('x'), finish(), usage(4, 6), done))

  expect((await callModel(ai, { maxOutputTokens: 90 })).error).toBeNull()
  // 90 are left: not enough for the same again at once, enough for a smaller one.
  expect((await callModel(ai, { maxOutputTokens: 80 })).error).toBeNull()
  expect((await callModel(ai, { maxOutputTokens: 85 })).error).toMatchObject({ kind: 'provider_limited' })
})

test('gives the tokens back of what a provider refused, not the request', async () => {
  await using server = await startModelServer()
  const limit = { requestsPerMinute: 2, tokensPerMinute: unlimitedOutputTokens + 10 }
  const ai = createTestAi({ a: server }, { modelRateLimits: { 'a/m': limit }, timeouts: { totalMs: 1_000 } })
  server.reply(httpError(400), httpError(400))

  expect((await callModel(ai)).error?.kind).toBe('bad_request')
  expect((await callModel(ai)).error?.kind).toBe('bad_request')
  expect((await callModel(ai)).error).toMatchObject({ kind: 'provider_limited', attempts: [] })
})
