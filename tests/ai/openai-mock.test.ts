import { afterAll, beforeAll, expect, test } from 'vitest'
import type { AiClient } from '../../src/ai/ai-client.ts'
import { startOpenAiMock, type OpenAiMock } from '../support/openai-mock.ts'
import { callModel, createTestAi, outcomes, testTimeouts } from './call-model.ts'

const whole = 'Hello from a server that nobody here wrote.'
const told = { content: whole }
const error = (status: number, code: string): object => ({ error: { message: code, type: code, code }, status })
const on = (model: string, response: object, more: object = {}): { match: object; response: object } => ({
  match: { model },
  response,
  ...more,
})

let mock: OpenAiMock
let ai: AiClient
let hasty: AiClient

beforeAll(async () => {
  mock = await startOpenAiMock([
    on('whole', told, { chunkSize: 8 }),
    on('priced', { ...told, usage: { prompt_tokens: 1_000, completion_tokens: 100, total_tokens: 1_100 } }),
    on('length', { ...told, finishReason: 'length' }),
    on('filtered', { content: 'Well', finishReason: 'content_filter' }),
    on('slow', told, { chunkSize: 8, streamingProfile: { ttft: 30_000, tps: 40 } }),
    on('truncated', told, { chunkSize: 8, latency: 20, truncateAfterChunks: 3 }),
    on('disconnected', told, { chunkSize: 8, latency: 20, disconnectAfterMs: 70 }),
    on('reset', told, { chaos: { disconnectRate: 1 } }),
    on('malformed', told, { chaos: { malformedRate: 1 } }),
    on('limited', error(429, 'rate_limit_exceeded')),
    on('broke', error(429, 'insufficient_quota')),
    on('down', error(503, 'service_unavailable')),
    on('locked', error(401, 'invalid_api_key')),
    on('long', error(400, 'context_length_exceeded')),
    on('wrong', error(400, 'invalid_value')),
    on('json', { content: '{"ok":true}' }),
  ])
  const providers = [{ name: 'openai', baseUrl: mock.baseUrl, apiKey: 'mock' }]
  ai = createTestAi({}, { providers })
  hasty = createTestAi(
    {},
    { providers, timeouts: { ...testTimeouts, totalMs: 950 }, modelTimeouts: { 'openai/slow': { firstTokenMs: 200 } } },
  )
})

afterAll(async () => {
  await ai.close()
  await hasty.close()
  await mock.close()
})

test('streams what it sends, chunk by chunk, with its usage', async () => {
  const seen = await callModel(ai, { models: ['openai/whole'] })

  expect(seen.events).toEqual(['started openai/whole', `text ${whole}`, 'finished stop'])
  expect(seen.deltaAtMs).toHaveLength(6)
  expect(seen.answer?.usage).toMatchObject({ outputTokens: 11, estimated: false })
  expect(seen.answer?.attempts[0]?.requestId).toMatch(/^req-/)
  expect((await mock.requests()).at(-1)).toMatchObject({
    model: 'whole',
    stream: true,
    stream_options: { include_usage: true },
    messages: [{ role: 'user', content: 'Say hello.' }],
  })
})

test('an answer cut at the maximum of tokens is a success that says so', async () => {
  expect((await callModel(ai, { models: ['openai/length'] })).answer?.finishReason).toBe('length')
})

test('parses structured output', async () => {
  const seen = await callModel(ai, { models: ['openai/json'], outputSchema: { type: 'object', required: ['ok'] } })
  expect(seen.answer?.json).toEqual({ ok: true })
})

test.each([
  ['reset', 'connection_failed', 3],
  ['malformed', 'malformed_stream', 3],
  ['down', 'overloaded', 3],
  ['broke', 'quota_exhausted', 1],
  ['locked', 'authentication_failed', 1],
  ['long', 'context_length_exceeded', 1],
])('an answer of "%s" is replaced unseen by that of the next model', async (model, outcome, tries) => {
  const seen = await callModel(ai, { models: [`openai/${model}`, 'openai/whole'] })

  expect(seen.events).toEqual(['started openai/whole', `text ${whole}`, 'finished stop'])
  expect(outcomes(seen)).toEqual([
    ...Array.from({ length: tries }, () => `openai/${model} ${outcome}`),
    'openai/whole succeeded',
  ])
})

test.each([
  ['slow', 'first_token_timeout'],
  // It asks for a second of patience, which is longer than the deadline.
  ['limited', 'rate_limited'],
])('an answer of "%s" is not waited for', async (model, outcome) => {
  const seen = await callModel(hasty, { models: [`openai/${model}`, 'openai/whole'] })
  expect(outcomes(seen)).toEqual([`openai/${model} ${outcome}`, 'openai/whole succeeded'])
})

test.each(['truncated', 'disconnected'])('an answer that is %s starts again on the next model', async (model) => {
  const seen = await callModel(ai, { models: [`openai/${model}`, 'openai/whole'] })

  expect(seen.events[1]).toMatch(/^text Hello f/)
  expect(seen.events.slice(2)).toEqual([
    expect.stringMatching(new RegExp(`^started openai/whole because openai/${model} failed .*interrupted`)),
    `text ${whole}`,
    'finished stop',
  ])
  expect(seen.answer?.text).toBe(whole)
})

test.each([
  ['wrong', 'bad_request', ''],
  ['filtered', 'content_filtered', 'Well'],
])('an answer of "%s" ends the call', async (model, kind, partialText) => {
  const seen = await callModel(ai, { models: [`openai/${model}`, 'openai/whole'] })
  expect(seen.error).toMatchObject({ kind, partialText, retryable: false })
})
