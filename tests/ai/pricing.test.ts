import { expect, test } from 'vitest'
import { createPricing } from '../../src/ai/pricing.ts'
import { startModelServer, stream, finish, usage, text, done, answer } from '../support/model-server.ts'
import { callModel, createTestAi } from './call-model.ts'

const at = new Date('2026-01-01T00:00:00Z')
const tokens = { inputTokens: 1_000, cachedInputTokens: 400, outputTokens: 100, reasoningTokens: 50 }
const pricing = createPricing({
  providers: [
    { name: 'openai', baseUrl: 'http://127.0.0.1:9/v1' },
    { name: 'mine', baseUrl: 'https://api.groq.com/openai/v1' },
    { name: 'official', baseUrl: null },
    { name: 'own', baseUrl: 'http://127.0.0.1:9/v1' },
  ],
  overrides: {
    'own/priced': { inputUsd: 3, cachedInputUsd: 0.3, outputUsd: 15 },
    'own/plain': { inputUsd: 3, cachedInputUsd: null, outputUsd: 15 },
    'openai/gpt-4o': { inputUsd: 0, cachedInputUsd: 0, outputUsd: 0 },
  },
})
const cost = (provider: string, model: string): bigint | null =>
  pricing.costNanoUsd({ name: `${provider}/${model}`, provider, model, alias: null }, tokens, at)

test('charges cached input less, and reasoning as the output that it is', () => {
  // gpt-4.1: 2 $ in, 0.5 $ cached, 8 $ out for a million: 600 · 2 000 + 400 · 500 + 100 · 8 000 nano-USD.
  expect(cost('openai', 'gpt-4.1')).toBe(2_200_000n)
})

test('knows a provider by its name, by its address, and OpenAI by having none', () => {
  expect(cost('official', 'gpt-4.1')).toBe(2_200_000n)
  expect(cost('mine', 'llama-3.3-70b-versatile')).toBeGreaterThan(0n)
})

test('a price of our own goes before the table, also a free one', () => {
  expect(cost('own', 'priced')).toBe(600n * 3_000n + 400n * 300n + 100n * 15_000n)
  expect(cost('own', 'plain')).toBe(1_000n * 3_000n + 100n * 15_000n)
  expect(cost('openai', 'gpt-4o')).toBe(0n)
})

test('an unknown price is null, not zero', () => {
  expect(cost('own', 'gpt-4.1')).toBeNull()
  expect(cost('openai', 'no-such-model')).toBeNull()
})

test('records the figures of the provider with the answer, an explicit zero too', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ openai: server })
  server.reply(
    stream(
      text('hi'),
      finish(),
      usage(1_000, 100, {
        prompt_tokens_details: { cached_tokens: 400 },
        completion_tokens_details: { reasoning_tokens: 50 },
      }),
      done,
    ),
    stream(text('hi'), finish(), usage(0, 0), done),
  )

  const first = await callModel(ai, { models: ['openai/gpt-4.1'] })
  const second = await callModel(ai, { models: ['openai/gpt-4.1'] })

  expect(first.answer?.usage).toEqual({ ...tokens, estimated: false, costNanoUsd: 2_200_000n })
  expect(second.answer?.usage).toMatchObject({ inputTokens: 0, outputTokens: 0, estimated: false, costNanoUsd: 0n })
})

test.each([
  ['are missing', stream(text('12345'), finish(), done)],
  ['are negative', stream(text('12345'), finish(), usage(-1, 4), done)],
  ['are no numbers', stream(text('12345'), finish(), usage(Number.NaN, 4), done)],
])('counts for itself, upwards, when the figures %s', async (_what, reply) => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server })
  server.reply(reply, answer('never asked'))

  // "Say hello." is 10 bytes.
  expect((await callModel(ai)).answer?.usage).toMatchObject({ inputTokens: 3, outputTokens: 2, estimated: true })
})
