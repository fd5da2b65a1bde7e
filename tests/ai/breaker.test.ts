import { expect, test } from 'vitest'
import { breakerVerdict } from '../../src/ai/breaker-gate.ts'
import { failureOutcomes, type AttemptOutcome } from '../../src/ai/model-call.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { newId } from '../../src/lib/ids.ts'
import { defaultBreakerRules } from '../../src/platform/circuit-breaker/circuit-breaker.ts'
import { createInProcessCircuitBreakers } from '../../src/platform/circuit-breaker/in-process.ts'
import { answer, httpError, silence, startModelServer } from '../support/model-server.ts'
import { captureLogs } from '../support/log-capture.ts'
import { callModel, createTestAi, outcomes } from './call-model.ts'

const record = (outcome: AttemptOutcome, status: number | null) => ({
  id: newId(),
  model: 'a/m',
  modelVersion: null,
  outcome,
  status,
  message: null,
  durationMs: 1,
  requestId: null,
  timeToFirstTokenMs: null,
  usage: null,
  at: new Date(0),
})

const breakers = (rules = {}) =>
  createInProcessCircuitBreakers({ clock: systemClock, newId, rules: { ...defaultBreakerRules, ...rules } })

test('counts what is the fault of a provider, and nothing else', () => {
  const failures = failureOutcomes.filter(
    (outcome) => breakerVerdict({ kind: 'ended', record: record(outcome, null), failure: null }).result === 'failed',
  )
  expect(failures).toEqual([
    'server_error',
    'overloaded',
    'connection_failed',
    'interrupted',
    'malformed_stream',
    'connect_timeout',
    'first_token_timeout',
    'idle_timeout',
  ])
})

test('asks a model no more that failed five times in a row, until the breaker lets one call try it', async () => {
  await using server = await startModelServer()
  const logs = captureLogs()
  // For longer than a call waits.
  const ai = createTestAi(
    { a: server },
    { breakers: breakers({ openMs: 40_000, maxOpenMs: 40_000 }), logger: logs.logger },
  )
  server.replyAlways(httpError(500))
  await callModel(ai)
  await callModel(ai)
  expect(server.requests).toHaveLength(5)
  expect(logs.lines).toContainEqual(
    expect.objectContaining({ alert: 'breaker_open', model: 'a/m', reason: 'server_error (500)' }),
  )

  const refused = await callModel(ai)

  expect(refused.error).toMatchObject({ kind: 'breaker_open', retryable: true, attempts: [] })
  expect(refused.error?.retryAfterMs).toBeGreaterThan(0)
  expect(server.requests).toHaveLength(5)
})

test('waits for a breaker to let it try, and is back at once when the provider is', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server }, { breakers: breakers({ openMs: 100 }) })
  server.replyAlways(httpError(500))
  await callModel(ai)
  await callModel(ai)
  server.replyAlways(answer('well again'))

  const seen = await Promise.all(Array.from({ length: 10 }, () => callModel(ai)))

  expect(seen.map(({ answer: given }) => given?.text)).toEqual(Array.from({ length: 10 }, () => 'well again'))
  expect(seen.every((one) => outcomes(one).length === 1)).toBe(true)
})

test('leaves a model alone for as long as a 429 says, and asks the next meanwhile', async () => {
  await using first = await startModelServer()
  await using second = await startModelServer()
  const ai = createTestAi({ a: first, b: second })
  first.reply(httpError(429, {}, { 'retry-after': '90' }))
  first.replyAlways(answer('too early'))
  second.replyAlways(answer('good'))
  await callModel(ai)

  const seen = await callModel(ai)

  expect(outcomes(seen)).toEqual(['b/m succeeded'])
  expect(first.requests).toHaveLength(1)
})

test('does not open for 429s, other 4xx, or callers who leave', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server })
  for (const status of [429, 400, 404, 413, 422, 408]) {
    server.replyAlways(httpError(status))
    for (let n = 0; n < 5; n += 1) await callModel(ai)
  }
  for (let n = 0; n < 6; n += 1) {
    const controller = new AbortController()
    server.replyAlways(() => {
      controller.abort()
      return silence
    })
    await callModel(ai, {}, { signal: controller.signal })
  }
  server.replyAlways(answer('good'))

  expect(outcomes(await callModel(ai))).toEqual(['a/m succeeded'])
})

test.each([
  ['a key that is refused', 401, 'authentication_failed (401)'],
  ['money that is gone', 402, 'quota_exhausted (402)'],
])('asks a model no more for five minutes after %s, and raises an alert', async (_what, status, reason) => {
  await using first = await startModelServer()
  await using second = await startModelServer()
  const logs = captureLogs()
  const ai = createTestAi({ a: first, b: second }, { logger: logs.logger })
  first.replyAlways(httpError(status))
  second.replyAlways(answer('good'))
  await callModel(ai)

  expect(outcomes(await callModel(ai))).toEqual(['b/m succeeded'])
  const { error } = await callModel(ai, { models: ['a/m'] })

  expect(error).toMatchObject({ kind: 'cooling_down', attempts: [] })
  expect(error?.message).toContain(reason)
  expect(error?.retryAfterMs).toBeGreaterThan(200_000)
  expect(error?.retryAfterMs).toBeLessThanOrEqual(300_000)
  expect(logs.lines).toContainEqual(expect.objectContaining({ alert: 'model_quarantined', model: 'a/m', reason }))
})

test('keeps the models of a provider apart, and the keys', async () => {
  await using server = await startModelServer()
  const shared = breakers()
  const ai = createTestAi({ a: server }, { breakers: shared })
  server.replyAlways(({ body }) => (body['model'] === 'ill' ? httpError(500) : answer('good')))
  for (let n = 0; n < 2; n += 1) await callModel(ai, { models: ['a/ill'] })
  const before = server.requests.length
  const otherKey = createTestAi(
    {},
    {
      breakers: shared,
      providers: [{ name: 'a', baseUrl: server.baseUrl, apiKey: 'another' }],
      defaultModels: ['a/m'],
    },
  )

  expect(outcomes(await callModel(ai, { models: ['a/ill', 'a/well'] }))).toEqual(['a/well succeeded'])
  await callModel(otherKey, { models: ['a/ill'] })
  // Three calls upstream of the other key, and one of the model that is well.
  expect(server.requests.length - before).toBe(4)
})

test('a provider that flaps is asked little while it is ill, and again within the longest time when it is well', async () => {
  await using first = await startModelServer()
  await using second = await startModelServer()
  const ai = createTestAi({ a: first, b: second }, { breakers: breakers({ openMs: 50, maxOpenMs: 200 }) })
  second.replyAlways(answer('from b'))
  let isWell = false
  first.replyAlways(() => (isWell ? answer('from a') : httpError(503)))
  for (let n = 0; n < 100; n += 1) expect((await callModel(ai)).answer?.text).toBe('from b')
  const askedWhileIll = first.requests.length
  isWell = true
  const texts: (string | undefined)[] = []
  const deadline = performance.now() + 10_000
  while (texts.at(-1) !== 'from a' && performance.now() < deadline) {
    texts.push((await callModel(ai)).answer?.text)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }

  expect(askedWhileIll).toBeLessThan(100)
  expect(texts.at(-1)).toBe('from a')
})
