import { afterEach, expect, test } from 'vitest'
import type { AiClient } from '../../src/ai/ai-client.ts'
import { AiError } from '../../src/ai/ai-error.ts'
import {
  workspaceScope,
  type AiEvent,
  type Answer,
  type CacheControl,
  type ModelRequest,
} from '../../src/ai/model-call.ts'
import { systemClock } from '../../src/lib/clock.ts'
import type { Cache } from '../../src/platform/cache/cache.ts'
import { createInProcessCache } from '../../src/platform/cache/in-process.ts'
import {
  answer,
  chunk,
  cut,
  done,
  finish,
  hold,
  startModelServer,
  stream,
  text,
  usage,
  type ModelServer,
} from '../support/model-server.ts'
import { until } from '../support/until.ts'
import { createTestAi, requestFor } from './call-model.ts'

const day = 86_400_000
const patient = { connectMs: 60_000, firstTokenMs: 60_000, idleMs: 60_000, totalMs: 120_000 }
const clients: AiClient[] = []
afterEach(async () => void (await Promise.all(clients.splice(0).map((ai) => ai.close()))))

function createAi(servers: Record<string, ModelServer>, cache: Cache = createInProcessCache({ clock: systemClock })) {
  const ai = createTestAi(servers, {
    responses: { cache, defaultTtlMs: day },
    prices: { 'a/m': { inputUsd: 1, cachedInputUsd: null, outputUsd: 10 } },
    timeouts: patient,
  })
  clients.push(ai)
  return ai
}

type Asked = { events: AiEvent[]; answer: Answer | null; error: AiError | null }

async function ask(
  ai: AiClient,
  more: Partial<ModelRequest> = {},
  options: { workspace?: string; signal?: AbortSignal } = {},
): Promise<Asked> {
  const events: AiEvent[] = []
  const { workspace = 'w', signal = new AbortController().signal } = options
  try {
    for await (const event of ai.stream(requestFor('Hello?', { temperature: 0, ...more }), {
      signal,
      scopes: [workspaceScope(workspace)],
    }))
      events.push(event)
  } catch (error) {
    if (error instanceof AiError) return { events, answer: null, error }
    throw error
  }
  const last = events.at(-1)
  return { events, answer: last?.type === 'finished' ? last.answer : null, error: null }
}

const isAsked = (server: ModelServer) =>
  until(
    'the model is asked',
    async () => server.requests.length,
    (count) => count > 0,
  )

const textOf = ({ events }: Asked): string => events.map((event) => (event.type === 'delta' ? event.text : '')).join('')

const control = (more: Partial<CacheControl>): Partial<ModelRequest> => ({
  cache: { ttlMs: null, maxAgeMs: null, forceRefresh: false, noStore: false, ...more },
})

test('answers the same question from the cache: the same answer, at no cost, with what that saved', async () => {
  await using server = await startModelServer()
  server.replyAlways(answer('Good', ' 👋', ' day.'))
  const ai = createAi({ a: server })

  const [first, second] = [await ask(ai), await ask(ai)]

  expect(server.requests).toHaveLength(1)
  expect(first.events[0]).toMatchObject({ type: 'started', cached: false })
  expect(second.events[0]).toMatchObject({ type: 'started', model: 'a/m', cached: true })
  expect([textOf(first), textOf(second)]).toEqual(['Good 👋 day.', 'Good 👋 day.'])
  expect(first.answer).toMatchObject({ cached: false, usage: { costNanoUsd: 41_000n } })
  expect(second.answer).toMatchObject({
    text: 'Good 👋 day.',
    finishReason: 'stop',
    model: 'a/m',
    modelVersion: 'test-model-1',
    cached: true,
    usage: { inputTokens: 0, outputTokens: 0, estimated: false, costNanoUsd: 0n, savedNanoUsd: 41_000n },
    attempts: [{ model: 'a/m', outcome: 'cached', status: null }],
  })
})

test('a long answer comes in pieces that make the same text', async () => {
  await using server = await startModelServer()
  const long = 'x😀'.repeat(20_000)
  server.reply(answer(long))
  const ai = createAi({ a: server })
  await ask(ai)

  const again = await ask(ai)

  expect(textOf(again)).toBe(long)
  expect(again.events.length).toBeGreaterThan(4)
})

test.each<[string, Partial<ModelRequest>, { workspace?: string }]>([
  ['another prompt', { messages: [{ role: 'user', content: 'Hello!' }] }, {}],
  ['another model', { models: ['a/other'] }, {}],
  ['another maximum of tokens', { maxOutputTokens: 7 }, {}],
  ['another schema', { outputSchema: { type: 'string' } }, {}],
  ['another workspace', {}, { workspace: 'other' }],
  ['another temperature', { temperature: null, ...control({ ttlMs: day }) }, {}],
])('asks the model for %s', async (_what, more, options) => {
  await using server = await startModelServer()
  server.replyAlways(answer('"Good."'))
  const ai = createAi({ a: server })
  await ask(ai)
  await ask(ai, more, options)
  expect(server.requests).toHaveLength(2)
})

test('what does not change the answer does not matter', async () => {
  await using server = await startModelServer()
  server.replyAlways(answer('Good.'))
  const ai = createAi({ a: server })
  await ask(ai)
  await ask(ai, { models: ['a/m'], onInterrupt: 'ERROR', ...control({ maxAgeMs: day }) })
  expect(server.requests).toHaveLength(1)
})

test.each<[string, Partial<ModelRequest>, number]>([
  ['keeps nothing at another temperature', { temperature: 0.5 }, 2],
  [
    'keeps it at any temperature for a call that says for how long',
    { temperature: 0.5, ...control({ ttlMs: day }) },
    1,
  ],
  ['keeps nothing of a call that says so', control({ noStore: true }), 2],
  ['keeps nothing for no time', control({ ttlMs: 0 }), 2],
  ['takes no answer that is older than a call allows', control({ maxAgeMs: -1 }), 2],
  ['asks the model when a call wants that', control({ forceRefresh: true }), 2],
])('%s', async (_what, more, requests) => {
  await using server = await startModelServer()
  server.replyAlways(answer('Good.'))
  const ai = createAi({ a: server })
  await ask(ai, more)
  await ask(ai, more)
  expect(server.requests).toHaveLength(requests)
})

test('what was asked for anew is kept for those who take what there is', async () => {
  await using server = await startModelServer()
  server.reply(answer('Old.'), answer('New.'))
  const ai = createAi({ a: server })
  await ask(ai)
  await ask(ai, control({ forceRefresh: true }))
  expect(textOf(await ask(ai))).toBe('New.')
})

test.each([
  ['was cut at the maximum of tokens', stream(text('Goo'), finish('length'), usage(1, 1), done)],
  ['was ended by a content filter', stream(text('Goo'), finish('content_filter'), usage(1, 1), done)],
  ['was refused', stream(chunk({ role: 'assistant', refusal: 'No.' }), finish(), usage(1, 1), done)],
  ['broke off', stream(text('Goo'), cut)],
  ['is not valid', answer('"x"')],
])('keeps no answer that %s', async (_what, reply) => {
  await using server = await startModelServer()
  server.replyAlways(reply)
  const ai = createAi({ a: server })
  const schema = { outputSchema: { type: 'integer' } }
  await ask(ai, schema)
  const before = server.requests.length
  const again = await ask(ai, schema)
  expect(server.requests.length).toBeGreaterThan(before)
  expect(again.answer?.cached ?? false).toBe(false)
})

test('keeps no answer that was begun anew, and the answer of another model under its own name', async () => {
  await using first = await startModelServer()
  await using second = await startModelServer()
  first.replyAlways(stream(chunk({ role: 'assistant' }), text('Goo'), cut))
  second.replyAlways(answer('Good.'))
  const ai = createAi({ a: first, b: second })
  await ask(ai)
  await ask(ai)
  expect(second.requests).toHaveLength(2)
  await ask(ai, { models: ['b/m'] })
  await ask(ai)
  expect(second.requests).toHaveLength(3)
  expect(await ask(ai)).toMatchObject({ answer: { cached: true, model: 'b/m', text: 'Good.' } })
})

test.each([
  [0, 0.9],
  [0.5, 1],
])('keeps an answer for its time, give or take a tenth: by chance %s for %s of it', async (chance, share) => {
  await using server = await startModelServer()
  server.replyAlways(answer('Good.'))
  const times: number[] = []
  const cache = createInProcessCache({ clock: systemClock })
  const responses = {
    cache: {
      ...cache,
      set(key: string, value: string, ttlMs: number) {
        times.push(ttlMs)
        return cache.set(key, value, ttlMs)
      },
    },
    defaultTtlMs: day,
  }
  const ai = createTestAi({ a: server }, { responses, random: () => chance, timeouts: patient })
  clients.push(ai)

  await ask(ai)

  expect(times).toEqual([day * share])
})

test('one of many who ask the same at once asks the model', { timeout: 30_000 }, async () => {
  await using server = await startModelServer()
  let go = (): void => undefined
  const held = new Promise<void>((resolve) => (go = resolve))
  server.replyAlways(stream(chunk({ role: 'assistant' }), text('Good.'), hold(held), finish(), usage(1, 1), done))
  const cache = createInProcessCache({ clock: systemClock })
  // As many processes as clients: what they share is the cache.
  const asked = Array.from({ length: 20 }, () => ask(createAi({ a: server }, cache)))
  await isAsked(server)
  go()

  const answers = await Promise.all(asked)

  expect(server.requests).toHaveLength(1)
  expect(answers.map(textOf)).toEqual(Array.from({ length: 20 }, () => 'Good.'))
  expect(answers.filter((each) => each.answer?.cached === true)).toHaveLength(19)
})

test('the next in line asks when the one that asked gives up', { timeout: 30_000 }, async () => {
  await using server = await startModelServer()
  const controller = new AbortController()
  server.replyAlways(() => {
    if (server.requests.length > 1) return answer('Good.')
    return stream(chunk({ role: 'assistant' }), hold(new Promise(() => undefined)))
  })
  const cache = createInProcessCache({ clock: systemClock })
  const first = ask(createAi({ a: server }, cache), {}, { signal: controller.signal })
  await isAsked(server)
  const second = ask(createAi({ a: server }, cache))
  controller.abort()

  expect((await first).error?.kind).toBe('aborted')
  expect(textOf(await second)).toBe('Good.')
})

test('who leaves while another asks for them has left', { timeout: 30_000 }, async () => {
  await using server = await startModelServer()
  server.replyAlways(stream(chunk({ role: 'assistant' }), hold(new Promise(() => undefined))))
  const cache = createInProcessCache({ clock: systemClock })
  const [leader, follower] = [new AbortController(), new AbortController()]
  const first = ask(createAi({ a: server }, cache), {}, { signal: leader.signal })
  await isAsked(server)
  const second = ask(createAi({ a: server }, cache), {}, { signal: follower.signal })
  follower.abort()

  expect((await second).error).toMatchObject({ kind: 'aborted', attempts: [] })
  leader.abort()
  await first
})

test('answers as if there were no cache when there is none', async () => {
  await using server = await startModelServer()
  server.replyAlways(answer('Good.'))
  const cache: Cache = {
    get: async () => null,
    set: async () => undefined,
    getOrLead: async () => ({ kind: 'unavailable' }),
    extend: async () => undefined,
    release: async () => undefined,
    close: async () => undefined,
  }
  const ai = createAi({ a: server }, cache)
  expect([textOf(await ask(ai)), textOf(await ask(ai))]).toEqual(['Good.', 'Good.'])
})

test('takes nothing for an answer that it cannot read', async () => {
  await using server = await startModelServer()
  server.replyAlways(answer('Good.'))
  const inner = createInProcessCache({ clock: systemClock })
  const ai = createAi({ a: server }, { ...inner, getOrLead: async () => ({ kind: 'value', value: '{"text":1}' }) })
  expect(textOf(await ask(ai))).toBe('Good.')
})
