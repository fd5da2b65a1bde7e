import { getEventListeners, once } from 'node:events'
import { createServer } from 'node:net'
import { beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { maxCoolDownMs, quarantineMs } from '../../src/ai/breaker-gate.ts'
import { maxWaitMs, retryInitialDelayMs, retryMaxDelayMs } from '../../src/ai/call-state.ts'
import { maxRetriesOfFallback, maxRetriesOfPrimary, maxUpstreamAttempts } from '../../src/ai/chain.ts'
import { leadMs, maxFollowMs } from '../../src/ai/response-cache.ts'
import { defaultTimeouts, reasoningModelTimeouts } from '../../src/ai/timeouts.ts'
import {
  answer,
  chunk,
  done,
  end,
  finish,
  httpError,
  raw,
  silence,
  stall,
  startModelServer,
  stream,
  text,
  wait,
  type Act,
  type Reply,
} from '../support/model-server.ts'
import { callModel, createTestAi, outcomes } from './call-model.ts'

// The first call of a process loads what later ones find loaded: no time-out of a test should have to pay for it.
beforeAll(async () => {
  await using server = await startModelServer()
  server.reply(answer('warm'))
  await callModel(createTestAi({ a: server }))
})

test('the time-outs are the documented ones', () => {
  expect(defaultTimeouts).toEqual({ connectMs: 5_000, firstTokenMs: 10_000, idleMs: 10_000, totalMs: 600_000 })
  expect(reasoningModelTimeouts).toEqual({ connectMs: 5_000, firstTokenMs: 120_000, idleMs: 30_000, totalMs: 600_000 })
})

test('tries and waits are the documented ones', () => {
  expect({ maxUpstreamAttempts, maxRetriesOfPrimary, maxRetriesOfFallback }).toEqual({
    maxUpstreamAttempts: 6,
    maxRetriesOfPrimary: 2,
    maxRetriesOfFallback: 1,
  })
  expect({ retryInitialDelayMs, retryMaxDelayMs, maxWaitMs }).toEqual({
    retryInitialDelayMs: 500,
    retryMaxDelayMs: 8_000,
    maxWaitMs: 30_000,
  })
  expect({ quarantineMs, maxCoolDownMs }).toEqual({ quarantineMs: 300_000, maxCoolDownMs: 3_600_000 })
  expect({ leadMs, maxFollowMs }).toEqual({ leadMs: 10_000, maxFollowMs: 30_000 })
})

const comments: Act[] = Array.from({ length: 40 }, () => [raw(': still here\n\n'), wait(20)]).flat()

test.each<[string, Reply, { connectMs?: number; firstTokenMs?: number; idleMs?: number }, string]>([
  ['that sends no headers', silence, { firstTokenMs: 300 }, 'first_token_timeout'],
  ['whose headers come late', { ...answer('late'), headersAfterMs: 800 }, { firstTokenMs: 300 }, 'first_token_timeout'],
  [
    'that sends headers and no token',
    stream(chunk({ role: 'assistant' }), stall),
    { firstTokenMs: 300 },
    'first_token_timeout',
  ],
  ['that sends nothing but comments', stream(...comments, stall), { firstTokenMs: 300 }, 'first_token_timeout'],
  [
    'that thinks and then falls silent',
    stream(chunk({ reasoning_content: 'hm' }), stall),
    { idleMs: 300 },
    'idle_timeout',
  ],
])(
  'leaves a model %s for the next, does not come back, and closes the connection',
  async (_what, reply, timeouts, outcome) => {
    await using first = await startModelServer()
    await using second = await startModelServer()
    const ai = createTestAi({ a: first, b: second }, { modelTimeouts: { 'a/m': timeouts } })
    first.replyAlways(reply)
    second.reply(answer('good'))
    const startedMs = performance.now()

    const seen = await callModel(ai)

    expect(seen.events).toEqual(['started b/m', 'text good', 'finished stop'])
    expect(outcomes(seen)).toEqual([`a/m ${outcome}`, 'b/m succeeded'])
    expect(performance.now() - startedMs).toBeGreaterThanOrEqual(299)
    // What we stopped waiting for may be billed.
    expect(seen.answer?.attempts[0]?.usage).toMatchObject({ inputTokens: 3, outputTokens: 0, estimated: true })
    await first.requests[0]?.closed
    expect(first.requests[0]?.hungUp).toBe(true)
  },
)

test('leaves an endpoint to which no connection can be made for the next', async () => {
  // It takes the connection and never says a word of TLS.
  const mute = createServer()
  mute.listen(0, '127.0.0.1')
  await once(mute, 'listening')
  const { port } = z.object({ port: z.number() }).parse(mute.address())
  await using second = await startModelServer()
  const ai = createTestAi(
    {},
    {
      providers: [
        { name: 'a', baseUrl: `https://127.0.0.1:${String(port)}/v1`, apiKey: 'x', timeouts: { connectMs: 150 } },
        { name: 'b', baseUrl: second.baseUrl, apiKey: 'x' },
      ],
    },
  )
  second.reply(answer('good'))

  const seen = await callModel(ai, { models: ['a/m', 'b/m'] })
  mute.close()

  expect(outcomes(seen)).toEqual(['a/m connect_timeout', 'b/m succeeded'])
  expect(seen.answer?.attempts[0]).toMatchObject({ message: 'no connection within 150 ms', usage: null })
})

test('does not take a server for unreachable that sends its headers with its first token', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server }, { timeouts: { connectMs: 150 } })
  server.reply({ ...answer('late'), headersAfterMs: 400 })

  expect(outcomes(await callModel(ai))).toEqual(['a/m succeeded'])
})

test('takes the status of an error for what it says when its body has no end', async () => {
  await using first = await startModelServer()
  await using second = await startModelServer()
  const ai = createTestAi({ a: first, b: second }, { modelTimeouts: { 'a/m': { firstTokenMs: 100 } } })
  first.replyAlways({ ...stream(raw('{"error":'), stall), status: 404 })
  second.reply(answer('good'))

  expect(outcomes(await callModel(ai))).toEqual(['a/m model_not_found', 'b/m succeeded'])
  await first.requests[0]?.closed
})

test('comments do not keep an answer alive that has stalled', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server }, { timeouts: { idleMs: 150 } })
  server.reply(stream(text('Half'), ...Array.from({ length: 5 }, () => comments).flat(), finish(), done))

  expect(outcomes(await callModel(ai))).toEqual(['a/m idle_timeout'])
})

test('waits for a slow answer as long as something comes', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server }, { timeouts: { firstTokenMs: 400, idleMs: 400 } })
  const slowly = ['a', 'b', 'c', 'd', 'e', 'f'].flatMap((letter) => [wait(120), text(letter)])
  server.reply(stream(...slowly, finish(), done))

  expect((await callModel(ai)).answer?.text).toBe('abcdef')
})

test('reasoning counts as a sign of life', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server }, { timeouts: { firstTokenMs: 300, idleMs: 300 } })
  const thoughts = Array.from({ length: 5 }, () => [wait(100), chunk({ reasoning: 'hm' })]).flat()
  server.reply(stream(...thoughts, text('42'), finish(), done))

  expect((await callModel(ai)).answer?.text).toBe('42')
})

test('a caller that is slow to take the text is not taken for a provider that is silent', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server }, { timeouts: { idleMs: 250 } })
  server.reply(answer('one ', 'two ', 'three'))
  let deltas = 0

  const seen = await callModel(
    ai,
    {},
    {
      onEvent: async (event) => {
        if (event.type !== 'delta' || ++deltas !== 2) return
        await new Promise((resolve) => setTimeout(resolve, 600))
      },
    },
  )

  expect(seen.answer?.text).toBe('one two three')
})

test('the deadline ends an answer that goes on and on', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server }, { timeouts: { totalMs: 300 } })
  const forever = Array.from({ length: 100 }, () => [text('.'), wait(20)]).flat()
  server.reply(stream(...forever))

  const seen = await callModel(ai)

  expect(seen.error).toMatchObject({ kind: 'deadline_exceeded', retryable: true })
  expect(seen.error?.partialText).toMatch(/^\.+$/)
  expect(outcomes(seen)).toEqual(['a/m deadline_exceeded'])
  await server.requests[0]?.closed
  expect(server.requests[0]?.hungUp).toBe(true)
})

test('the deadline is one for all models together', async () => {
  await using first = await startModelServer()
  await using second = await startModelServer()
  const ai = createTestAi(
    { a: first, b: second },
    { timeouts: { totalMs: 600 }, modelTimeouts: { 'a/m': { firstTokenMs: 300 } } },
  )
  first.replyAlways(stream(stall))
  second.replyAlways(stream(stall))
  const startedMs = performance.now()

  const seen = await callModel(ai)

  expect(outcomes(seen)).toEqual(['a/m first_token_timeout', 'b/m deadline_exceeded'])
  expect(seen.error?.kind).toBe('deadline_exceeded')
  expect(performance.now() - startedMs).toBeLessThan(10_000)
})

test('an abort in the middle closes the connection and tells what was shown and what it may have cost', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server })
  server.reply(stream(text('Half of it'), stall))
  const abort = new AbortController()

  const seen = await callModel(
    ai,
    {},
    {
      signal: abort.signal,
      onEvent: (event) => {
        if (event.type === 'delta') abort.abort(new Error('cancelled'))
      },
    },
  )

  expect(seen.error).toMatchObject({
    kind: 'aborted',
    retryable: false,
    partialText: 'Half of it',
    cause: expect.objectContaining({ message: 'cancelled' }),
  })
  expect(seen.error?.attempts).toMatchObject([
    { outcome: 'aborted', usage: { inputTokens: 3, outputTokens: 3, estimated: true } },
  ])
  await server.requests[0]?.closed
  expect(server.requests[0]?.hungUp).toBe(true)
})

test('an abort between the announcement of a new run and its text shows nothing of the one before', async () => {
  await using first = await startModelServer()
  await using second = await startModelServer()
  const ai = createTestAi({ a: first, b: second })
  first.reply(stream(text('Half of it'), end))
  second.reply(stream(text('Anew'), stall))
  const abort = new AbortController()

  const seen = await callModel(
    ai,
    {},
    {
      signal: abort.signal,
      onEvent: (event) => {
        if (event.type === 'started' && event.model === 'b/m') abort.abort()
      },
    },
  )

  expect(seen.events).toEqual([
    'started a/m',
    'text Half of it',
    expect.stringMatching(/^started b\/m because/),
    'text Anew',
  ])
  expect(seen.error).toMatchObject({ kind: 'aborted', partialText: 'Anew' })
})

test('an abort is heard while nothing comes', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server })
  server.reply(silence)
  const abort = new AbortController()
  const call = callModel(ai, {}, { signal: abort.signal })
  await expect.poll(() => server.requests.length, { message: 'the request arrives' }).toBe(1)

  abort.abort()

  expect((await call).error?.kind).toBe('aborted')
  await server.requests[0]?.closed
})

test('an abort is heard in the wait before a retry', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server }, { timeouts: { totalMs: 60_000 } })
  server.replyAlways(httpError(429, {}, { 'retry-after': '20' }))
  const abort = new AbortController()
  const call = callModel(ai, {}, { signal: abort.signal })
  await expect.poll(() => server.requests.length, { message: 'the request arrives' }).toBe(1)
  await new Promise((resolve) => setTimeout(resolve, 50))

  abort.abort()

  expect((await call).error).toMatchObject({ kind: 'aborted', attempts: [{ outcome: 'rate_limited' }] })
})

test('a call that is aborted before it begins reaches nobody', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server })

  const seen = await callModel(ai, {}, { signal: AbortSignal.abort() })

  expect(seen.error).toMatchObject({ kind: 'aborted', attempts: [] })
  expect(server.requests).toEqual([])
})

test('leaving the iteration early closes the connection', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server })
  server.reply(stream(text('Half'), stall))

  for await (const event of ai.stream(
    {
      models: [],
      messages: [],
      temperature: null,
      maxOutputTokens: null,
      outputSchema: null,
      onInterrupt: 'RESTART',
    },
    { signal: new AbortController().signal },
  )) {
    if (event.type === 'delta') break
  }

  await server.requests[0]?.closed
  expect(server.requests[0]?.hungUp).toBe(true)
})

test('close aborts the calls that run and refuses later ones', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server })
  server.reply(stream(text('Half'), stall))
  const call = callModel(ai)
  await expect.poll(() => server.requests.length, { message: 'the request arrives' }).toBe(1)

  await ai.close()

  expect((await call).error?.kind).toBe('aborted')
  expect((await callModel(ai)).error).toMatchObject({ kind: 'aborted', attempts: [] })
  expect(server.requests).toHaveLength(1)
})

test('leaves no listener at the signal and no timer behind', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server })
  server.replyAlways(answer('ok'))
  const timers = (): number => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length
  const timersBefore = timers()
  const { signal } = new AbortController()

  for (let call = 0; call < 5; call++) await callModel(ai, {}, { signal })

  expect(getEventListeners(signal, 'abort')).toEqual([])
  // One may be that of fetch, for its idle connections.
  expect(timers()).toBeLessThanOrEqual(timersBefore + 1)
})
