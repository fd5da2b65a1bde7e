import { expect, test } from 'vitest'
import {
  answer,
  chunk,
  cut,
  done,
  end,
  finish,
  httpError,
  raw,
  reset,
  silence,
  stall,
  startModelServer,
  stream,
  text,
  usage,
  type Reply,
} from '../support/model-server.ts'
import { callModel, createTestAi, outcomes } from './call-model.ts'

/*
 * The faults that the AI client promises to get right, one by one, with a second model to go on to: what the caller sees, how often each upstream was asked,
 * and what is recorded. What they look like without a second model, and in other variations, is in the files beside this one.
 */

const said = stream(chunk({ role: 'assistant' }), text('Hel'), text('lo'))
const broken = (...acts: typeof said.acts): Reply => ({ ...said, acts: [...said.acts, ...acts] })
const good = ['started b/m', 'text good', 'finished stop']
const goodAfter = (reason: string): string[] => [
  'started a/m',
  'text Hello',
  `started b/m because a/m failed in the middle of its answer ${reason}`,
  'text good',
  'finished stop',
]

type Fault = { name: string; replies: readonly Reply[]; events: string[]; attempts: string[]; hungUp?: boolean }

const faults: Fault[] = [
  {
    name: '429 for ever',
    replies: [httpError(429), httpError(429), httpError(429)],
    events: good,
    attempts: ['a/m rate_limited', 'a/m rate_limited', 'a/m rate_limited', 'b/m succeeded'],
  },
  {
    name: '429 with a Retry-After that is too long',
    replies: [httpError(429, {}, { 'retry-after': '90' })],
    events: good,
    attempts: ['a/m rate_limited', 'b/m succeeded'],
  },
  {
    name: '500 once',
    replies: [httpError(500), answer('good')],
    events: ['started a/m', 'text good', 'finished stop'],
    attempts: ['a/m server_error', 'a/m succeeded'],
  },
  {
    name: '503 for ever',
    replies: [httpError(503), httpError(503), httpError(503)],
    events: good,
    attempts: ['a/m overloaded', 'a/m overloaded', 'a/m overloaded', 'b/m succeeded'],
  },
  {
    name: 'a reset before the headers',
    replies: [reset, answer('good')],
    events: ['started a/m', 'text good', 'finished stop'],
    attempts: ['a/m connection_failed', 'a/m succeeded'],
  },
  {
    name: 'no answer at all',
    replies: [silence],
    events: good,
    attempts: ['a/m first_token_timeout', 'b/m succeeded'],
    hungUp: true,
  },
  {
    name: 'a first token that comes too late',
    replies: [stream(chunk({ role: 'assistant' }), stall)],
    events: good,
    attempts: ['a/m first_token_timeout', 'b/m succeeded'],
    hungUp: true,
  },
  {
    name: 'a cut without an end of file',
    replies: [broken(cut)],
    events: goodAfter('(interrupted): the connection was closed'),
    attempts: ['a/m interrupted', 'b/m succeeded'],
  },
  {
    name: 'a cut with an end of file',
    replies: [broken(end)],
    events: goodAfter('(interrupted): the stream ended without a finish reason'),
    attempts: ['a/m interrupted', 'b/m succeeded'],
  },
  {
    name: 'a stall in the middle',
    replies: [broken(stall)],
    events: goodAfter('(idle_timeout): nothing more for 400 ms'),
    attempts: ['a/m idle_timeout', 'b/m succeeded'],
    hungUp: true,
  },
  {
    name: 'a malformed chunk in an answer that is whole',
    replies: [broken(raw('data: {"choices":[{\n\n'), text('!'), finish(), usage(1, 3), done)],
    events: ['started a/m', 'text Hello!', 'finished stop'],
    attempts: ['a/m succeeded'],
  },
  {
    name: 'a malformed chunk in an answer that is not',
    replies: [broken(raw('data: {"choices":[{\n\n'), end)],
    events: goodAfter('(malformed_stream): the stream ended unfinished, 1 malformed chunk was skipped'),
    attempts: ['a/m malformed_stream', 'b/m succeeded'],
  },
  {
    name: 'no [DONE] and no usage',
    replies: [broken(finish(), end)],
    events: ['started a/m', 'text Hello', 'finished stop'],
    attempts: ['a/m succeeded'],
  },
  {
    name: 'a context that is too long',
    replies: [httpError(400, { code: 'context_length_exceeded' })],
    events: good,
    attempts: ['a/m context_length_exceeded', 'b/m succeeded'],
  },
  {
    name: 'an error in the stream of a 200',
    replies: [broken(raw('data: {"error":{"message":"boom","type":"server_error"}}\n\n'), end)],
    events: goodAfter('(server_error): boom'),
    attempts: ['a/m server_error', 'b/m succeeded'],
  },
  {
    name: 'an endpoint that refuses stream_options',
    replies: [httpError(400, { message: 'Unknown parameter: stream_options' }), answer('good')],
    events: ['started a/m', 'text good', 'finished stop'],
    attempts: ['a/m option_refused', 'a/m succeeded'],
  },
]

test.concurrent.each(faults)('$name', async ({ replies, events, attempts, hungUp = false }) => {
  await using first = await startModelServer()
  await using second = await startModelServer()
  const ai = createTestAi(
    { a: first, b: second },
    {
      timeouts: { connectMs: 20_000, firstTokenMs: 20_000, idleMs: 20_000, totalMs: 60_000 },
      modelTimeouts: { 'a/m': { firstTokenMs: 5_000, idleMs: 400 } },
    },
  )
  first.reply(...replies)
  // It rejects what continues a text that another model began.
  second.replyAlways(({ body }) =>
    JSON.stringify(body['messages']).includes('assistant') ? httpError(400, { message: 'no prefill' }) : answer('good'),
  )

  const seen = await callModel(ai)

  expect(seen.events).toEqual(events)
  expect(outcomes(seen)).toEqual(attempts)
  const recorded = seen.answer?.attempts ?? []
  expect(first.requests).toHaveLength(recorded.filter(({ model }) => model === 'a/m').length)
  expect(second.requests).toHaveLength(recorded.filter(({ model }) => model === 'b/m').length)
  // What was said was billed; what was refused was not.
  for (const { outcome, status, usage: used, durationMs } of recorded) {
    expect(durationMs).toBeGreaterThan(0)
    if (outcome === 'succeeded' || status === 200) expect(used).not.toBeNull()
    if (status !== null && status >= 400) expect(used).toBeNull()
  }
  if (hungUp) {
    await first.requests[0]?.closed
    expect(first.requests[0]?.hungUp).toBe(true)
  }
})

test('waits as long as a 429 says, and no less, before the same model is asked again', async () => {
  await using first = await startModelServer()
  const ai = createTestAi({ a: first }, { timeouts: { totalMs: 30_000, firstTokenMs: 20_000 } })
  first.reply(httpError(429, {}, { 'retry-after-ms': '700' }), answer('good'))

  expect(outcomes(await callModel(ai))).toEqual(['a/m rate_limited', 'a/m succeeded'])
  const [one, other] = first.requests
  expect((other?.receivedAtMs ?? 0) - (one?.receivedAtMs ?? 0)).toBeGreaterThanOrEqual(699)
})
