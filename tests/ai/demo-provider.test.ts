import { expect, test } from 'vitest'
import { createOutputSchemas } from '../../src/ai/output-schema.ts'
import { answer, httpError, startModelServer } from '../support/model-server.ts'
import { callModel, createTestAi, outcomes } from './call-model.ts'

const demo = { demoTokenDelayMs: 1 }
const ask = (content: string): { messages: { role: 'user'; content: string }[] } => ({
  messages: [{ role: 'user', content }],
})

test('answers when no provider is configured, and says first that no model was asked', async () => {
  const ai = createTestAi({}, demo)

  const seen = await callModel(ai, ask('What is  GraphQL?'))

  expect(seen.answer?.text).toMatch(/^This is the demo provider: no model was asked\. You wrote: “What is GraphQL\?”/)
  expect(seen.answer).toMatchObject({ model: 'demo/demo', modelVersion: 'demo-1', finishReason: 'stop' })
  expect(seen.answer?.usage).toEqual({
    inputTokens: 5,
    cachedInputTokens: 0,
    outputTokens: seen.deltaAtMs.length,
    reasoningTokens: 0,
    estimated: false,
    costNanoUsd: 0n,
  })
  expect(seen.deltaAtMs.length).toBeGreaterThanOrEqual(40)
  expect(seen.deltaAtMs.length).toBeLessThanOrEqual(80)
})

test('says the same for the same prompt and cuts a long one', async () => {
  const ai = createTestAi({}, demo)
  const prompt = '🦉'.repeat(1_000)

  const [first, second] = await Promise.all([callModel(ai, ask(prompt)), callModel(ai, ask(prompt))])

  expect(first.answer?.text).toBe(second.answer?.text)
  expect(first.answer?.text).toContain(`“${'🦉'.repeat(120)}…”`)
})

test('streams its tokens one after another', async () => {
  const ai = createTestAi({}, { demoTokenDelayMs: 5 })

  const { deltaAtMs } = await callModel(ai)

  const spanMs = (deltaAtMs.at(-1) ?? 0) - (deltaAtMs[0] ?? 0)
  expect(spanMs).toBeGreaterThanOrEqual((deltaAtMs.length - 1) * 4)
})

test('can be asked by name beside other providers, and is never a silent fallback', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server }, demo)
  server.replyAlways(httpError(401))

  expect((await callModel(ai)).error?.kind).toBe('authentication_failed')
  expect(outcomes(await callModel(ai, { models: ['a/other', 'demo/demo'] }))).toEqual([
    'a/other authentication_failed',
    'demo/demo succeeded',
  ])
})

test('is not used when a provider is configured', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server }, demo)
  server.reply(answer('from a'))

  expect((await callModel(ai)).answer?.text).toBe('from a')
})

test('stops at the maximum of output tokens', async () => {
  const ai = createTestAi({}, demo)

  const { answer: given } = await callModel(ai, { maxOutputTokens: 3 })

  expect(given).toMatchObject({ text: 'This is the', finishReason: 'length', usage: { outputTokens: 3 } })
})

test('stops when the call is aborted', async () => {
  const ai = createTestAi({}, { demoTokenDelayMs: 10 })
  const abort = new AbortController()

  const seen = await callModel(
    ai,
    {},
    {
      signal: abort.signal,
      onEvent: (event) => {
        if (event.type === 'delta') abort.abort()
      },
    },
  )

  expect(seen.error).toMatchObject({ kind: 'aborted', partialText: 'This' })
})

test('has one model', async () => {
  const ai = createTestAi({}, demo)
  expect(outcomes(await callModel(ai, { models: ['demo/gpt'] }))).toEqual(['demo/gpt model_not_found'])
})

test('makes up a value for a simple schema', async () => {
  const ai = createTestAi({}, demo)
  const outputSchema = {
    type: 'object',
    required: ['title', 'score', 'tags', 'kind', 'when', 'next', 'done'],
    additionalProperties: false,
    properties: {
      title: { type: 'string', minLength: 40, maxLength: 50 },
      score: { type: 'integer', minimum: 3, maximum: 9 },
      tags: { type: 'array', minItems: 2, items: { type: 'string', maxLength: 4 } },
      kind: { enum: ['bug', 'feature'] },
      when: { type: 'string', format: 'date-time' },
      next: { anyOf: [{ type: 'null' }, { $ref: '#' }] },
      done: { type: 'boolean' },
    },
  }

  const { answer: given } = await callModel(ai, { outputSchema })

  expect(given?.json).toEqual({
    title: 'demo provider: no model was asked.......',
    score: 3,
    tags: ['demo', 'demo'],
    kind: 'bug',
    when: '2025-01-01T00:00:00Z',
    next: null,
    done: false,
  })
  expect(
    createOutputSchemas()
      .compile(outputSchema)
      .check(given?.text ?? '').ok,
  ).toBe(true)
})

test('says so when it cannot make up a value', async () => {
  const ai = createTestAi({}, demo)

  const seen = await callModel(ai, { outputSchema: { type: 'string', pattern: '^[0-9]{5}$' } })

  expect(seen.error).toMatchObject({
    kind: 'bad_request',
    message: expect.stringContaining('The demo provider cannot make up a value for this schema'),
  })
})
