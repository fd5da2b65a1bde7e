import { expect, test } from 'vitest'
import { answer, data, end, httpError, reset, startModelServer, stream, type Reply } from '../support/model-server.ts'
import { callModel, createTestAi, outcomes } from './call-model.ts'

const inStream = (error: unknown): Reply => stream(data({ error }), end)

test.each<[string, Reply, string]>([
  [
    'a rate limit',
    httpError(429, { message: 'slow down', type: 'requests', code: 'rate_limit_exceeded' }),
    'rate_limited',
  ],
  ['500', httpError(500, { message: 'oops', type: 'server_error' }), 'server_error'],
  ['502 with a page', { kind: 'error', status: 502, body: '<html>Bad gateway</html>' }, 'server_error'],
  ['503', httpError(503), 'overloaded'],
  ['504', httpError(504), 'server_error'],
  ['529', httpError(529, { type: 'overloaded_error' }), 'overloaded'],
  ['408', httpError(408), 'request_timeout'],
  ['409', httpError(409), 'request_conflict'],
  ['a reset before the headers', reset, 'connection_failed'],
  ['an error in the stream', inStream({ message: 'The server had an error', type: 'server_error' }), 'server_error'],
  ['an overload in the stream', inStream({ message: 'Overloaded', type: 'overloaded_error' }), 'overloaded'],
  ['an HTTP status in the stream', inStream({ message: 'Provider returned error', code: 502 }), 'server_error'],
  ['an error that is a string', inStream('boom'), 'server_error'],
  ['a body that ends at once', stream(end), 'interrupted'],
  ['a body that is cut at once', stream({ do: 'cut' }), 'interrupted'],
  [
    'a stream of nothing but malformed chunks',
    stream({ do: 'write', bytes: 'data: {{{\n\n' }, end),
    'malformed_stream',
  ],
  ['200 with a page', { kind: 'stream', acts: [end], headers: { 'content-type': 'text/html' } }, 'malformed_stream'],
])('tries the same model again, unseen, after %s', async (_what, fault, outcome) => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server })
  server.reply(fault, answer('good'))

  const seen = await callModel(ai)

  expect(seen.events).toEqual(['started a/m', 'text good', 'finished stop'])
  expect(outcomes(seen)).toEqual([`a/m ${outcome}`, 'a/m succeeded'])
})

test.each<[string, Reply, string]>([
  ['401', httpError(401, { message: 'bad key', code: 'invalid_api_key' }), 'authentication_failed'],
  ['402', httpError(402), 'quota_exhausted'],
  ['403', httpError(403), 'permission_denied'],
  ['404', httpError(404, { code: 'model_not_found' }), 'model_not_found'],
  [
    '429 without money',
    httpError(429, { message: 'You exceeded your current quota', code: 'insufficient_quota' }),
    'quota_exhausted',
  ],
  ['a prompt that is too long', httpError(400, { code: 'context_length_exceeded' }), 'context_length_exceeded'],
  [
    'a prompt that is too long, in words',
    httpError(400, { message: "This model's maximum context length is 8192 tokens." }),
    'context_length_exceeded',
  ],
  ['a quota that ends in the stream', inStream({ code: 'insufficient_quota' }), 'quota_exhausted'],
])('asks the next model at once after %s', async (_what, fault, outcome) => {
  await using first = await startModelServer()
  await using second = await startModelServer()
  const ai = createTestAi({ a: first, b: second })
  first.replyAlways(fault)
  second.reply(answer('good'))

  const seen = await callModel(ai)

  expect(seen.events).toEqual(['started b/m', 'text good', 'finished stop'])
  expect(outcomes(seen)).toEqual([`a/m ${outcome}`, 'b/m succeeded'])
  expect(seen.answer?.model).toBe('b/m')
})

test.each<[string, Reply, string]>([
  ['400', httpError(400, { message: 'Invalid temperature', code: 'invalid_value' }), 'bad_request'],
  ['422', httpError(422), 'bad_request'],
  ['413', httpError(413), 'bad_request'],
  ['a content filter', httpError(400, { code: 'content_filter' }), 'content_filtered'],
  ['a request that is wrong, in the stream', inStream({ type: 'invalid_request_error' }), 'bad_request'],
])('asks nobody else after %s', async (_what, fault, outcome) => {
  await using first = await startModelServer()
  await using second = await startModelServer()
  const ai = createTestAi({ a: first, b: second })
  first.replyAlways(fault)

  const seen = await callModel(ai)

  expect(seen.error).toMatchObject({ kind: outcome, retryable: false, partialText: '', code: 'MODEL_FAILED' })
  expect(outcomes(seen)).toEqual([`a/m ${outcome}`])
  expect(second.requests).toEqual([])
})

test('retries the primary twice and the fallback once, and reports what the primary failed with', async () => {
  await using first = await startModelServer()
  await using second = await startModelServer()
  const ai = createTestAi({ a: first, b: second })
  first.replyAlways(httpError(503, { message: 'no capacity' }))
  second.replyAlways(httpError(500, { message: 'oops' }))

  const seen = await callModel(ai)

  expect(outcomes(seen)).toEqual([
    'a/m overloaded',
    'a/m overloaded',
    'a/m overloaded',
    'b/m server_error',
    'b/m server_error',
  ])
  expect(seen.events).toEqual([])
  expect(seen.error).toMatchObject({
    kind: 'overloaded',
    retryable: true,
    message: 'a/m: overloaded (503 no capacity); then b/m: server_error (500 oops)',
  })
  expect(seen.error?.attempts[0]).toMatchObject({ status: 503, requestId: 'req-test', usage: null })
})

test('makes at most six calls upstream', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server })
  server.replyAlways(httpError(500))

  const seen = await callModel(ai, { models: ['a/1', 'a/2', 'a/3', 'a/4'] })

  expect(outcomes(seen).map((line) => line.split(' ')[0])).toEqual(['a/1', 'a/1', 'a/1', 'a/2', 'a/2', 'a/3'])
  expect(server.requests).toHaveLength(6)
})

test('says that a later call may succeed when any model of the chain may answer later', async () => {
  await using first = await startModelServer()
  await using second = await startModelServer()
  const ai = createTestAi({ a: first, b: second })
  first.replyAlways(httpError(401))
  second.replyAlways(httpError(503))

  expect((await callModel(ai)).error).toMatchObject({ kind: 'authentication_failed', retryable: true })
})

test('waits at least as long as the provider asks', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server })
  server.reply(httpError(429, {}, { 'retry-after-ms': '120' }), answer('good'))

  const seen = await callModel(ai)

  expect(outcomes(seen)).toEqual(['a/m rate_limited', 'a/m succeeded'])
  const [first, second] = server.requests
  expect((second?.receivedAtMs ?? 0) - (first?.receivedAtMs ?? 0)).toBeGreaterThanOrEqual(119)
})

test('waits with full jitter that doubles', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server }, { random: () => 0.2 })
  server.reply(httpError(500), httpError(500), answer('good'))

  await callModel(ai)

  const [first = 0, second = 0, third = 0] = server.requests.map(({ receivedAtMs }) => receivedAtMs)
  expect(second - first).toBeGreaterThanOrEqual(99)
  expect(third - second).toBeGreaterThanOrEqual(199)
  expect(third - first).toBeLessThan(10_000)
})

test('asks the next model instead of waiting longer than half a minute', async () => {
  await using first = await startModelServer()
  await using second = await startModelServer()
  const ai = createTestAi({ a: first, b: second }, { timeouts: { totalMs: 600_000 } })
  first.replyAlways(httpError(429, {}, { 'retry-after': '90' }))
  second.reply(answer('good'))

  expect(outcomes(await callModel(ai))).toEqual(['a/m rate_limited', 'b/m succeeded'])
})

test('does not begin a wait that the deadline would end, and says when to come back', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server }, { timeouts: { totalMs: 5_000 } })
  server.replyAlways(httpError(429, {}, { 'retry-after': '20' }))

  const seen = await callModel(ai)

  expect(seen.error).toMatchObject({ kind: 'rate_limited', retryable: true, retryAfterMs: 20_000 })
  expect(outcomes(seen)).toEqual(['a/m rate_limited'])
})

test('an endpoint where nobody listens is one that failed to connect', async () => {
  const server = await startModelServer()
  await server.close()
  await using second = await startModelServer()
  const ai = createTestAi({ a: server, b: second })
  second.reply(answer('good'))

  const seen = await callModel(ai)

  expect(outcomes(seen)).toEqual([
    'a/m connection_failed',
    'a/m connection_failed',
    'a/m connection_failed',
    'b/m succeeded',
  ])
  expect(seen.answer?.attempts[0]).toMatchObject({
    status: null,
    usage: null,
    message: expect.stringContaining('ECONNREFUSED'),
  })
})

test('keeps the key out of what an endpoint says about it, and NUL out of the text', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server })
  server.reply(httpError(401, { message: 'Incorrect API key: key-of-a\0!' }))

  const seen = await callModel(ai)

  expect(seen.error?.message).toBe('a/m: authentication_failed (401 Incorrect API key: [redacted]\uFFFD!)')
})
