import { expect, test } from 'vitest'
import { createModelFigures, mergeFigures } from '../../src/ai/model-figures.ts'
import type { FiguresBoard } from '../../src/ai/model-status.ts'
import { createTestAi, callModel } from './call-model.ts'
import { answer, httpError, startModelServer, wait } from '../support/model-server.ts'

test('lists the configured models, with their aliases and prices, before any was asked', async () => {
  await using server = await startModelServer()
  const prices = { 'a/small-1': { inputUsd: 0.25, cachedInputUsd: null, outputUsd: 2 } }
  const ai = createTestAi({ a: server }, { aliases: { fast: 'a/small-1', quick: 'a/small-1' }, prices })

  const nothing = {
    provider: 'a',
    version: null,
    state: 'AVAILABLE',
    reason: null,
    availableAt: null,
    requestsPerMinute: 0,
    errorRate: 0,
    timeToFirstTokenP50Ms: null,
    timeToFirstTokenP99Ms: null,
    tokensPerSecondP50: null,
    tokensPerSecondP99: null,
    costUsdPerHour: 0,
  }
  expect(await ai.statuses()).toEqual([
    { ...nothing, name: 'a/m', aliases: [], inputUsdPerMillion: null, outputUsdPerMillion: null },
    { ...nothing, name: 'a/small-1', aliases: ['fast', 'quick'], inputUsdPerMillion: 0.25, outputUsdPerMillion: 2 },
  ])
})

test('says what was asked, how it went, how fast and what it costs', async () => {
  await using server = await startModelServer()
  const ai = createTestAi(
    { a: server },
    { prices: { 'a/m': { inputUsd: 1_000, cachedInputUsd: null, outputUsd: 1_000 } } },
  )
  const { acts } = answer('one', 'two')
  server.replyAlways({ kind: 'stream', acts: acts.flatMap((act) => [wait(10), act]) })
  for (let n = 0; n < 3; n += 1) await callModel(ai)
  server.replyAlways(httpError(400))
  await callModel(ai)

  const [status] = await ai.statuses()

  expect(status).toMatchObject({
    name: 'a/m',
    version: 'test-model-1',
    requestsPerMinute: 4 / 5,
    errorRate: 1 / 4,
    // Three answers of 11 + 2 tokens, a thousandth of a dollar each, in five minutes.
    costUsdPerHour: expect.closeTo(3 * 13 * 0.001 * 12, 6),
  })
  expect(status?.timeToFirstTokenP50Ms).toBeGreaterThan(15)
  expect(status?.timeToFirstTokenP99Ms).toBeGreaterThanOrEqual(status?.timeToFirstTokenP50Ms ?? Infinity)
  expect(status?.tokensPerSecondP50).toBeGreaterThan(0)
})

test('says why and until when a model is not asked', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server })
  server.replyAlways(httpError(401))
  await callModel(ai)
  const [quarantined] = await ai.statuses()
  expect(quarantined).toMatchObject({ state: 'COOLING_DOWN', reason: 'authentication_failed (401)' })
  expect(quarantined?.availableAt?.getTime()).toBeGreaterThan(Date.now() + 200_000)

  server.replyAlways(httpError(500))
  for (let n = 0; n < 2; n += 1) await callModel(ai, { models: ['a/ill'] })
  const ill = (await ai.statuses()).find(({ name }) => name === 'a/ill')
  expect(ill).toMatchObject({ state: 'OPEN', reason: 'server_error (500)', errorRate: 1 })
})

test('adds up what the processes have counted', async () => {
  await using server = await startModelServer()
  const pinned: string[] = []
  const board: FiguresBoard = { pin: async (note) => void pinned.push(note), read: async () => pinned }
  const one = createTestAi({ a: server }, { board })
  const other = createTestAi({ a: server }, { board: { ...board, pin: async () => {} } })
  server.replyAlways(answer('good'))
  await callModel(one)
  await callModel(one)
  await callModel(other)
  const deadline = performance.now() + 10_000
  while (pinned.length === 0 && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 20))

  expect((await other.statuses())[0]?.requestsPerMinute).toBe(3 / 5)
})

test('counts what is older than five minutes no more, and reads no note of another program', () => {
  let now = new Date('2026-01-01T00:00:00Z')
  const figures = createModelFigures({ clock: { now: () => now, monotonicMs: () => 0 } })
  const attempt = {
    id: '1',
    model: 'a/m',
    modelVersion: null,
    outcome: 'succeeded',
    status: 200,
    message: null,
    durationMs: 100,
    requestId: null,
    timeToFirstTokenMs: 10,
    usage: null,
    at: now,
  } as const
  figures.record(attempt)
  const requestsAt = (at: Date): number | undefined =>
    mergeFigures([figures.note(), 'nonsense', '[{"a":1}]'], at).get('a/m')?.requests
  expect(requestsAt(now)).toBe(1)
  now = new Date('2026-01-01T00:04:00Z')
  figures.record(attempt)
  expect(requestsAt(now)).toBe(2)
  expect(requestsAt(new Date('2026-01-01T00:05:30Z'))).toBe(1)
  expect(requestsAt(new Date('2026-01-01T01:00:00Z'))).toBe(0)
})
