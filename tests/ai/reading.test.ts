import { expect, test } from 'vitest'
import { createEventStreamDecoder, maxEventChars } from '../../src/ai/event-stream.ts'
import { retryAfterMs } from '../../src/ai/retry-after.ts'
import { createTimeoutLookup, defaultTimeouts, reasoningModelTimeouts } from '../../src/ai/timeouts.ts'

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)

test('decodes the same events wherever the bytes are cut', () => {
  const body = bytes(
    ': hi\r\n\r\ndata: {"a":1}\r\n\r\nevent: error\ndata:two\ndata: lines ✓\n\nid: 7\n\ndata: [DONE]\n\n',
  )
  const expected = [
    { event: null, data: '{"a":1}' },
    { event: 'error', data: 'two\nlines ✓' },
    { event: null, data: '[DONE]' },
  ]
  for (let at = 0; at <= body.length; at++) {
    const decoder = createEventStreamDecoder()
    const events = [...decoder.push(body.subarray(0, at)), ...decoder.push(body.subarray(at)), ...decoder.end()]
    expect(events).toEqual(expected)
  }
})

test('hands out an event that the body left unended', () => {
  const decoder = createEventStreamDecoder()
  expect(decoder.push(bytes('data: last'))).toEqual([])
  expect(decoder.end()).toEqual([{ event: null, data: 'last' }])
})

test('does not collect an event without end', () => {
  const decoder = createEventStreamDecoder()
  const part = bytes(`data: ${'x'.repeat(maxEventChars / 4)}`)
  expect(() => {
    for (let part5 = 0; part5 < 5; part5++) decoder.push(part)
  }).toThrow(RangeError)
})

const now = new Date('2026-01-01T00:00:00Z')

test.each<[Record<string, string>, number | null]>([
  [{}, null],
  [{ 'retry-after': '2' }, 2_000],
  [{ 'retry-after': '0.25' }, 250],
  [{ 'retry-after': 'Thu, 01 Jan 2026 00:00:30 GMT' }, 30_000],
  [{ 'retry-after': 'Wed, 31 Dec 2025 00:00:00 GMT' }, 0],
  [{ 'retry-after': '-5' }, 0],
  [{ 'retry-after': 'soon' }, null],
  [{ 'retry-after': '' }, null],
  [{ 'retry-after-ms': '150', 'retry-after': '2' }, 150],
  [{ 'retry-after-ms': 'x', 'retry-after': '2' }, 2_000],
])('reads %j as a wait of %s ms', (headers, expected) => {
  expect(retryAfterMs(new Headers(headers), now)).toBe(expected)
})

test('the time-outs of a model are its own, then its provider’s, then the general ones, then those of its kind', () => {
  const timeoutsOf = createTimeoutLookup({
    timeouts: { connectMs: 1 },
    ofProviders: { p: { connectMs: 2, idleMs: 2 } },
    ofModels: { 'p/m': { idleMs: 3 } },
  })
  const of = (provider: string, model: string) => timeoutsOf({ name: `${provider}/${model}`, provider, model })

  expect(of('p', 'm')).toEqual({ ...defaultTimeouts, connectMs: 2, idleMs: 3 })
  expect(of('q', 'm')).toEqual({ ...defaultTimeouts, connectMs: 1 })
  expect(of('q', 'gpt-5-mini')).toEqual({ ...reasoningModelTimeouts, connectMs: 1 })
})

test.each([
  'o3',
  'o4-mini',
  'gpt-5',
  'gpt-5-mini-2025-08-07',
  'openai/gpt-5.1',
  'deepseek-reasoner',
  'deepseek/deepseek-r1',
])('gives %s the time to think', (model) => {
  const timeoutsOf = createTimeoutLookup({ timeouts: {}, ofProviders: {}, ofModels: {} })
  expect(timeoutsOf({ name: `p/${model}`, provider: 'p', model })).toEqual(reasoningModelTimeouts)
})

test.each(['gpt-4.1', 'gpt-4o', 'gpt-5-chat-latest', 'llama3', 'mistral-large', 'claude-sonnet-4-5', 'o-model'])(
  'does not wait longer for %s',
  (model) => {
    const timeoutsOf = createTimeoutLookup({ timeouts: {}, ofProviders: {}, ofModels: {} })
    expect(timeoutsOf({ name: `p/${model}`, provider: 'p', model })).toEqual(defaultTimeouts)
  },
)
