import { expect, test } from 'vitest'
import {
  answer,
  chunk,
  cut,
  data,
  end,
  finish,
  httpError,
  raw,
  stall,
  startModelServer,
  stream,
  text,
  texts,
  usage,
  type Act,
} from '../support/model-server.ts'
import { callModel, createTestAi, outcomes } from './call-model.ts'

// Only where it is waited for: a busy machine may be silent for a moment too.
const stallsAfter = (outcome: string): Record<string, { idleMs: number }> =>
  outcome === 'idle_timeout' ? { 'a/m': { idleMs: 200 } } : {}

const faults: [string, Act[], string, string][] = [
  ['is cut without an end of file', [cut], 'interrupted', 'the connection was closed'],
  ['is cut with a proper end of file', [end], 'interrupted', 'the stream ended without a finish reason'],
  [
    'ends in half a chunk',
    [raw('data: {"choices":[{"del'), end],
    'interrupted',
    'the stream ended without a finish reason',
  ],
  ['ends with [DONE] alone', [raw('data: [DONE]\n\n'), end], 'interrupted', 'the stream ended without a finish reason'],
  [
    'has a malformed chunk and no end',
    [raw('data: {{{\n\n'), text('x'), end],
    'malformed_stream',
    'the stream ended unfinished, 1 malformed chunk was skipped',
  ],
  [
    'reports an error',
    [data({ error: { message: 'The server had an error', type: 'server_error' } }), end],
    'server_error',
    'The server had an error',
  ],
  ['reports an error as an event', [raw('event: error\ndata: {"message":"boom"}\n\n'), end], 'server_error', 'boom'],
  ['stops with an error', [finish('error'), end], 'server_error', 'the model stopped with an error'],
  ['stalls', [stall], 'idle_timeout', 'nothing more for 200 ms'],
]

test.each(faults)('starts again on the next model when an answer %s', async (_what, acts, outcome, message) => {
  await using first = await startModelServer()
  await using second = await startModelServer()
  const ai = createTestAi({ a: first, b: second }, { modelTimeouts: stallsAfter(outcome) })
  first.reply(stream(...texts('Half of ', 'an ans'), ...acts))
  second.reply(answer('All ', 'of it'))

  const seen = await callModel(ai)

  expect(seen.events).toEqual([
    'started a/m',
    outcome === 'malformed_stream' ? 'text Half of an ansx' : 'text Half of an ans',
    `started b/m because a/m failed in the middle of its answer (${outcome}): ${message}`,
    'text All of it',
    'finished stop',
  ])
  expect(seen.answer).toMatchObject({ text: 'All of it', model: 'b/m' })
  expect(outcomes(seen)).toEqual([`a/m ${outcome}`, 'b/m succeeded'])
  // From the original messages: nothing of the first answer is sent along.
  expect(second.requests[0]?.body['messages']).toEqual([{ role: 'user', content: 'Say hello.' }])
})

test.each(faults)('fails with the partial text when that is wanted and an answer %s', async (_what, acts, outcome) => {
  await using first = await startModelServer()
  await using second = await startModelServer()
  const ai = createTestAi({ a: first, b: second }, { modelTimeouts: stallsAfter(outcome) })
  first.reply(stream(...texts('Half of ', 'an ans'), ...acts))

  const seen = await callModel(ai, { onInterrupt: 'ERROR' })

  expect(seen.error).toMatchObject({ kind: outcome, retryable: true })
  expect(seen.error?.partialText).toMatch(/^Half of an ansx?$/)
  expect(outcomes(seen)).toEqual([`a/m ${outcome}`])
  expect(second.requests).toEqual([])
})

test('records what a broken answer may have cost, estimated', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server }, { prices: { 'a/m': { inputUsd: 1, cachedInputUsd: null, outputUsd: 2 } } })
  server.reply(stream(text('12345678'), cut), answer('good'))

  const seen = await callModel(ai)

  // "Say hello." is 10 bytes: 3 tokens; what arrived is 8: 2 tokens.
  expect(seen.answer?.attempts[0]?.usage).toEqual({
    inputTokens: 3,
    cachedInputTokens: 0,
    outputTokens: 2,
    reasoningTokens: 0,
    estimated: true,
    costNanoUsd: 7_000n,
  })
  expect(seen.answer?.usage).toMatchObject({ inputTokens: 11, outputTokens: 1, estimated: false, costNanoUsd: 13_000n })
})

test('starts again on the same model when there is no other one', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server })
  server.reply(stream(text('Half'), cut), httpError(500), answer('Whole'))

  const seen = await callModel(ai)

  expect(seen.events).toEqual([
    'started a/m',
    'text Half',
    'started a/m because a/m failed in the middle of its answer (interrupted): the connection was closed',
    'text Whole',
    'finished stop',
  ])
  expect(outcomes(seen)).toEqual(['a/m interrupted', 'a/m server_error', 'a/m succeeded'])
})

test('does not ask a model again that stalled', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server }, { timeouts: { idleMs: 100 } })
  server.replyAlways(stream(text('Half'), stall))

  const seen = await callModel(ai)

  expect(outcomes(seen)).toEqual(['a/m idle_timeout'])
  expect(seen.error).toMatchObject({ kind: 'idle_timeout', retryable: true, partialText: 'Half' })
})

test('fails with the text that was shown last when no model comes to an end', async () => {
  await using first = await startModelServer()
  await using second = await startModelServer()
  const ai = createTestAi({ a: first, b: second })
  first.replyAlways(stream(text('From a'), cut))
  second.reply(stream(text('From b'), cut), httpError(500))

  const seen = await callModel(ai)

  expect(seen.error).toMatchObject({ kind: 'interrupted', partialText: 'From b' })
  expect(outcomes(seen)).toEqual(['a/m interrupted', 'b/m interrupted', 'b/m server_error'])
})

test('drops the text before also for an answer that is empty', async () => {
  await using first = await startModelServer()
  await using second = await startModelServer()
  const ai = createTestAi({ a: first, b: second })
  first.reply(stream(text('Half'), end))
  second.reply(stream(finish(), usage(1, 0), end))

  const seen = await callModel(ai)

  expect(seen.events.map((event) => event.split(' because ')[0])).toEqual([
    'started a/m',
    'text Half',
    'started b/m',
    'finished stop',
  ])
})

test.each<[string, Act[], string]>([
  ['a content filter stops it', [finish('content_filter'), end], 'content_filtered'],
  ['the model refuses', [chunk({ refusal: 'I will not.' }), finish(), end], 'refused'],
])('asks nobody else when %s', async (_what, acts, outcome) => {
  await using first = await startModelServer()
  await using second = await startModelServer()
  const ai = createTestAi({ a: first, b: second })
  first.reply(stream(text('Well, '), ...acts))

  const seen = await callModel(ai)

  expect(seen.error).toMatchObject({ kind: outcome, retryable: false, partialText: 'Well, ' })
  expect(outcomes(seen)).toEqual([`a/m ${outcome}`])
  expect(second.requests).toEqual([])
})

test('gives up an answer that does not stop', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server })
  const megabyte = text('x'.repeat(2 ** 20))
  server.reply(stream(megabyte, megabyte, megabyte, megabyte, text('one more'), stall))

  const seen = await callModel(ai)

  expect(seen.error).toMatchObject({ kind: 'answer_too_large', retryable: false })
  await server.requests[0]?.closed
  expect(server.requests[0]?.hungUp).toBe(true)
})

test('takes nothing from a call of a tool whose stream broke off', async () => {
  await using first = await startModelServer()
  await using second = await startModelServer()
  const ai = createTestAi({ a: first, b: second })
  const toolCall = { tool_calls: [{ index: 0, id: 'c', function: { name: 'f', arguments: '{"all":' } }] }
  first.replyAlways(stream(chunk(toolCall), cut))
  second.reply(answer('good'))

  const seen = await callModel(ai)

  expect(outcomes(seen)).toEqual([...Array.from({ length: 3 }, () => 'a/m interrupted'), 'b/m succeeded'])
  expect(seen.events).toEqual(['started b/m', 'text good', 'finished stop'])
})
