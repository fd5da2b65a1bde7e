import { expect, test } from 'vitest'
import { isUuid } from '../../src/lib/ids.ts'
import {
  answer,
  chunk,
  data,
  done,
  end,
  finish,
  hold,
  raw,
  startModelServer,
  stream,
  text,
  texts,
  usage,
} from '../support/model-server.ts'
import { callModel, createTestAi, outcomes } from './call-model.ts'

test('streams an answer and tells what it was', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server })
  server.reply(answer('Hel', 'lo', ' you'))

  const seen = await callModel(ai)

  expect(seen.events).toEqual(['started a/m', 'text Hello you', 'finished stop'])
  const usageOfIt = {
    inputTokens: 11,
    cachedInputTokens: 0,
    outputTokens: 3,
    reasoningTokens: 0,
    estimated: false,
    costNanoUsd: null,
  }
  expect(seen.answer).toEqual({
    cached: false,
    text: 'Hello you',
    json: null,
    model: 'a/m',
    modelVersion: 'test-model-1',
    finishReason: 'stop',
    usage: usageOfIt,
    latencyMs: expect.any(Number),
    timeToFirstTokenMs: expect.any(Number),
    attempts: [
      {
        id: expect.toSatisfy(isUuid),
        model: 'a/m',
        modelVersion: 'test-model-1',
        outcome: 'succeeded',
        status: 200,
        message: null,
        durationMs: expect.any(Number),
        requestId: 'req-test',
        timeToFirstTokenMs: expect.any(Number),
        usage: usageOfIt,
        at: expect.any(Date),
      },
    ],
  })
})

test('sends what was asked for and nothing else', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server })
  server.replyAlways(answer('ok'))

  await callModel(ai)
  await callModel(ai, {
    models: ['a/org/model:7b'],
    messages: [
      { role: 'system', content: 'Be short.' },
      { role: 'user', content: 'Hi' },
    ],
    temperature: 0,
    maxOutputTokens: 64,
  })

  expect(server.requests.map(({ body }) => body)).toEqual([
    {
      model: 'm',
      messages: [{ role: 'user', content: 'Say hello.' }],
      stream: true,
      stream_options: { include_usage: true },
    },
    {
      model: 'org/model:7b',
      messages: [
        { role: 'system', content: 'Be short.' },
        { role: 'user', content: 'Hi' },
      ],
      stream: true,
      stream_options: { include_usage: true },
      temperature: 0,
      max_tokens: 64,
    },
  ])
  expect(server.requests[0]).toMatchObject({
    path: '/v1/chat/completions',
    headers: { authorization: 'Bearer key-of-a' },
  })
})

test('sends no Authorization header to an endpoint without a key', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({}, { providers: [{ name: 'own', baseUrl: server.baseUrl, apiKey: '' }] })
  server.reply(answer('ok'))

  const { answer: given } = await callModel(ai, { models: ['own/m'] })

  expect(given?.text).toBe('ok')
  expect(server.requests[0]?.headers).not.toHaveProperty('authorization')
})

test('hands each piece of text on before the next one is sent', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server })
  let hearFirst = (): void => undefined
  const firstHeard = new Promise<void>((resolve) => (hearFirst = resolve))
  server.reply(stream(text('first'), hold(firstHeard), text(' second'), finish(), done))

  const seen = await callModel(
    ai,
    {},
    {
      onEvent: (event) => {
        if (event.type === 'delta') hearFirst()
      },
    },
  )

  expect(seen.answer?.text).toBe('first second')
})

test('calls an answer that was cut at the maximum of tokens a success and says so', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server })
  server.reply(stream(text('To be contin'), finish('length'), usage(5, 4), done))

  const seen = await callModel(ai)

  expect(seen.events).toEqual(['started a/m', 'text To be contin', 'finished length'])
})

test('says that a run started also when its answer is empty', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server })
  server.reply(stream(chunk({ role: 'assistant', content: '' }), finish(), usage(5, 0), done))

  const seen = await callModel(ai)

  expect(seen.events).toEqual(['started a/m', 'finished stop'])
  expect(seen.answer).toMatchObject({ text: '', timeToFirstTokenMs: null })
})

test.each([
  ['[DONE] is missing', stream(...texts('a', 'b'), finish(), usage(5, 2))],
  [
    'the last empty line is missing',
    stream(...texts('a', 'b'), raw('data: {"choices":[{"delta":{},"finish_reason":"stop"}]}')),
  ],
  ['the finish reason comes with the last text', stream(text('a'), chunk({ content: 'b' }, 'stop'), done)],
  ['the connection is cut behind the finish reason', stream(...texts('a', 'b'), finish(), { do: 'cut' })],
  [
    'the usage comes with every chunk',
    stream(chunk({ content: 'a' }, null, { usage: null }), text('b'), finish(), done),
  ],
  [
    'comments and empty events come between',
    stream(raw(': ping\n\n'), text('a'), raw('data:\n\n'), text('b'), finish(), done),
  ],
  [
    'lines end with CR and LF',
    stream(text('a'), raw('data: {"choices":[{"delta":{"content":"b"}}]}\r\n\r\n'), finish(), done),
  ],
  [
    'a chunk has no choices',
    stream(data({ choices: [], prompt_filter_results: [] }), ...texts('a', 'b'), finish(), done),
  ],
])('takes an answer as complete when %s', async (_what, reply) => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server })
  server.reply(reply)

  const seen = await callModel(ai)

  expect(seen.answer).toMatchObject({ text: 'ab', finishReason: 'stop' })
  expect(outcomes(seen)).toEqual(['a/m succeeded'])
})

test('does not wait long for an end that does not come behind the finish reason', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server }, { timeouts: { idleMs: 300 } })
  server.reply(stream(text('whole'), finish(), { do: 'stall' }))

  const seen = await callModel(ai)

  expect(seen.answer).toMatchObject({ text: 'whole', usage: { estimated: true } })
  await server.requests[0]?.closed
  expect(server.requests[0]?.hungUp).toBe(true)
})

test('skips a malformed chunk when the rest of the stream completes, and says so', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server })
  server.reply(stream(text('a'), raw('data: {"choices": [{"del\n\n'), text('b'), finish(), done))

  const seen = await callModel(ai)

  expect(seen.answer?.text).toBe('ab')
  expect(seen.answer?.attempts[0]).toMatchObject({ outcome: 'succeeded', message: '1 malformed chunk was skipped' })
})

test('keeps a character whole that is cut into two packets', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server })
  const bytes = Buffer.from('data: {"choices":[{"delta":{"content":"über 🦉"}}]}\n\n')
  const middle = bytes.indexOf(Buffer.from('🦉')) + 2
  server.reply(
    stream(
      { do: 'write', bytes: bytes.subarray(0, middle) },
      { do: 'wait', ms: 20 },
      { do: 'write', bytes: bytes.subarray(middle) },
      finish(),
      done,
      end,
    ),
  )

  expect((await callModel(ai)).answer?.text).toBe('über 🦉')
})

test('uses the connections of earlier calls again', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server })
  server.replyAlways(answer('ok'))

  for (let call = 0; call < 6; call++) await callModel(ai)

  // Two: a connection rests for one turn of the event loop before fetch takes it again.
  expect(new Set(server.requests.map(({ port }) => port)).size).toBeLessThanOrEqual(2)
})
