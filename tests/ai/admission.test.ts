import { expect, test } from 'vitest'
import { admitted, type AttemptGate, type AttemptPlan, type Refusal } from '../../src/ai/admission.ts'
import { ServiceUnavailableError } from '../../src/lib/errors.ts'
import { answer, cut, httpError, silence, stall, startModelServer, stream, text } from '../support/model-server.ts'
import { captureLogs } from '../support/log-capture.ts'
import { callModel, createTestAi, outcomes, requestFor } from './call-model.ts'

type RecordingGate = AttemptGate & { log: string[]; plans: AttemptPlan[] }

/** Writes down what it is asked and told, and refuses what `decide` gives a refusal for. */
function createGate(name: string, decide: (plan: AttemptPlan) => Refusal | null = () => null): RecordingGate {
  const log: string[] = []
  const plans: AttemptPlan[] = []
  return {
    log,
    plans,
    async admit(plan) {
      plans.push(plan)
      const refusal = decide(plan)
      log.push(`${name} ${refusal === null ? 'admits' : 'refuses'} ${plan.model.name}`)
      return refusal === null ? admitted : { kind: 'refused', refusal }
    },
    async settle(plan, end) {
      log.push(`${name} hears ${end.kind === 'ended' ? end.record.outcome : end.kind} of ${plan.model.name}`)
    },
  }
}

const refusal = (more: Partial<Refusal> = {}): Refusal => ({
  class: 'provider',
  outcome: 'breaker_open',
  message: 'it is ill',
  retryAfterMs: 60_000,
  ...more,
})

test('asks the gates before every call upstream and tells them how each ended', async () => {
  await using server = await startModelServer()
  const gate = createGate('gate')
  const ai = createTestAi({ a: server }, { gates: [gate] })
  server.reply(httpError(500), answer('good'))

  const seen = await callModel(ai)

  expect(gate.log).toEqual([
    'gate admits a/m',
    'gate hears server_error of a/m',
    'gate admits a/m',
    'gate hears succeeded of a/m',
  ])
  expect(gate.plans.map(({ id }) => id)).toEqual(seen.answer?.attempts.map(({ id }) => id))
})

test('says beforehand how much a call may use', async () => {
  await using server = await startModelServer()
  const gate = createGate('gate')
  const ai = createTestAi(
    { a: server },
    { gates: [gate], prices: { 'a/m': { inputUsd: 1, cachedInputUsd: null, outputUsd: 2 } } },
  )
  server.replyAlways(answer('good'))

  await callModel(ai, { messages: [{ role: 'user', content: 'ü'.repeat(100) }], maxOutputTokens: 50 })
  await callModel(ai)

  const [first, second] = gate.plans
  expect(first?.size.estimatedInputTokens()).toBe(50)
  expect(first?.size.maxInputTokens()).toBe(232)
  expect(first?.size.maxOutputTokens).toBe(50)
  expect(first?.size.maxCostNanoUsd()).toBe(332_000n)
  expect(second?.size.maxCostNanoUsd()).toBeNull()
})

test('asks the next model when a provider may not be asked, and records no attempt of it', async () => {
  await using first = await startModelServer()
  await using second = await startModelServer()
  const gate = createGate('gate', ({ model }) => (model.provider === 'a' ? refusal() : null))
  const ai = createTestAi({ a: first, b: second }, { gates: [gate] })
  second.reply(answer('good'))

  const seen = await callModel(ai)

  expect(seen.events).toEqual(['started b/m', 'text good', 'finished stop'])
  expect(outcomes(seen)).toEqual(['b/m succeeded'])
  expect(first.requests).toHaveLength(0)
})

test('gives back what earlier gates admitted when a later one refuses', async () => {
  await using first = await startModelServer()
  await using second = await startModelServer()
  const one = createGate('one')
  const two = createGate('two', ({ model }) => (model.provider === 'a' ? refusal() : null))
  const ai = createTestAi({ a: first, b: second }, { gates: [one, two] })
  second.reply(answer('good'))

  await callModel(ai)

  expect(one.log).toEqual([
    'one admits a/m',
    'one hears not_sent of a/m',
    'one admits b/m',
    'one hears succeeded of b/m',
  ])
  expect(two.log).toEqual(['two refuses a/m', 'two admits b/m', 'two hears succeeded of b/m'])
  expect(first.requests).toHaveLength(0)
})

test('asks a gate of which no refusal is expected together with the next one', async () => {
  await using server = await startModelServer()
  const [one, two, three] = [createGate('one'), createGate('two'), createGate('three')]
  let askedTwo = (): void => undefined
  const twoIsAsked = new Promise<void>((resolve) => (askedTwo = resolve))
  const expecting: AttemptGate = {
    ...one,
    expectsToAdmit: () => true,
    // For ever, should the next one only be asked afterwards.
    admit: (plan) => twoIsAsked.then(() => one.admit(plan)),
  }
  const next: AttemptGate = {
    ...two,
    admit(plan) {
      askedTwo()
      return two.admit(plan)
    },
  }
  const ai = createTestAi({ a: server }, { gates: [expecting, next, three] })
  server.reply(answer('good'))

  expect(outcomes(await callModel(ai))).toEqual(['a/m succeeded'])
  expect([one.log, two.log, three.log].map((log) => log.length)).toEqual([2, 2, 2])
})

test('gives back what the next gate admitted when one of which no refusal was expected refuses all the same', async () => {
  await using server = await startModelServer()
  const one = { ...createGate('one', () => refusal()), expectsToAdmit: () => true }
  const [two, three] = [createGate('two'), createGate('three')]
  const ai = createTestAi({ a: server }, { gates: [one, two, three] })

  const { error } = await callModel(ai)

  expect(error?.kind).toBe('breaker_open')
  expect(one.log).toEqual(['one refuses a/m'])
  expect(two.log).toEqual(['two admits a/m', 'two hears not_sent of a/m'])
  expect(three.log).toEqual([])
  expect(server.requests).toHaveLength(0)
})

test('waits for the earliest model when none may be asked now', async () => {
  await using first = await startModelServer()
  await using second = await startModelServer()
  const refusedOnce = new Set<string>()
  const gate = createGate('gate', ({ model }) => {
    if (model.provider === 'a') return refusal()
    if (refusedOnce.has(model.name)) return null
    refusedOnce.add(model.name)
    return refusal({ retryAfterMs: 150 })
  })
  const ai = createTestAi({ a: first, b: second }, { gates: [gate] })
  second.reply(answer('good'))
  const startedMs = performance.now()

  const seen = await callModel(ai)

  expect(seen.events).toEqual(['started b/m', 'text good', 'finished stop'])
  expect(performance.now() - startedMs).toBeGreaterThanOrEqual(149)
})

test('fails at once, and says when to come back, when no model may be asked for longer than a call waits', async () => {
  await using first = await startModelServer()
  await using second = await startModelServer()
  const gate = createGate('gate', ({ model }) => refusal({ retryAfterMs: model.provider === 'a' ? 90_000 : 40_000 }))
  const ai = createTestAi({ a: first, b: second }, { gates: [gate] })

  const { error } = await callModel(ai)

  expect(error).toMatchObject({
    code: 'MODEL_FAILED',
    kind: 'breaker_open',
    retryable: true,
    retryAfterMs: 40_000,
    attempts: [],
    message: 'a/m: breaker_open (it is ill); then b/m: breaker_open (it is ill)',
  })
})

test('reports what a model failed with, not that it may not be asked again', async () => {
  await using server = await startModelServer()
  const gate = createGate('gate', () => (gate.plans.length > 1 ? refusal() : null))
  const ai = createTestAi({ a: server }, { gates: [gate] })
  server.replyAlways(httpError(500))

  const seen = await callModel(ai)

  expect(seen.error).toMatchObject({ kind: 'server_error' })
  expect(outcomes(seen)).toEqual(['a/m server_error'])
})

test.each([
  ['limit', refusal({ class: 'scope', outcome: 'rate_limit_exceeded', retryAfterMs: 700 }), 'RATE_LIMITED', true],
  ['budget', refusal({ class: 'budget', outcome: 'budget_exceeded', retryAfterMs: null }), 'BUDGET_EXCEEDED', false],
])("ends the call when it is the caller's own %s that says no", async (_what, said, code, retryable) => {
  await using first = await startModelServer()
  await using second = await startModelServer()
  const ai = createTestAi({ a: first, b: second }, { gates: [createGate('gate', () => said)] })

  const { error } = await callModel(ai)

  const { outcome: kind, retryAfterMs } = said
  expect(error).toMatchObject({ code, kind, retryable, retryAfterMs, attempts: [], message: 'it is ill' })
  expect(first.requests.length + second.requests.length).toBe(0)
})

test('tells the gates of an attempt whose reader left, exactly once', async () => {
  await using server = await startModelServer()
  const gate = createGate('gate')
  const ai = createTestAi({ a: server }, { gates: [gate] })
  server.reply(stream(text('Hel'), stall))

  for await (const event of ai.stream(requestFor('Say hello.'), { signal: new AbortController().signal })) {
    if (event.type === 'delta') break
  }

  expect(gate.log).toEqual(['gate admits a/m', 'gate hears aborted of a/m'])
  await server.requests[0]?.closed
})

test('tells the gates of an attempt that was aborted', async () => {
  await using server = await startModelServer()
  const controller = new AbortController()
  const gate = createGate('gate')
  const ai = createTestAi({ a: server }, { gates: [gate] })
  server.replyAlways(() => {
    controller.abort()
    return silence
  })

  const { error } = await callModel(ai, {}, { signal: controller.signal })

  expect(error?.kind).toBe('aborted')
  expect(gate.log).toEqual(['gate admits a/m', 'gate hears aborted of a/m'])
})

test('sends nothing for a caller who left while a gate was asked', async () => {
  await using server = await startModelServer()
  const controller = new AbortController()
  const gate = createGate('gate', () => {
    controller.abort()
    return null
  })
  const ai = createTestAi({ a: server }, { gates: [gate] })

  const { error } = await callModel(ai, {}, { signal: controller.signal })

  expect(error).toMatchObject({ kind: 'aborted', attempts: [] })
  expect(gate.log).toEqual(['gate admits a/m', 'gate hears not_sent of a/m'])
  expect(server.requests).toHaveLength(0)
})

test('answers although a gate cannot settle, and says so in the log', async () => {
  await using server = await startModelServer()
  const logs = captureLogs()
  const gate = createGate('gate')
  gate.settle = () => Promise.reject(new Error('the store is gone'))
  const ai = createTestAi({ a: server }, { gates: [gate], logger: logs.logger })
  server.reply(answer('good'))

  expect(outcomes(await callModel(ai))).toEqual(['a/m succeeded'])
  expect(logs.takeError('an attempt could not be settled')).toMatchObject({ model: 'a/m' })
})

test('loses no attempt that was paid for when a gate breaks before the next', async () => {
  await using first = await startModelServer()
  await using second = await startModelServer()
  const logs = captureLogs()
  const away = new ServiceUnavailableError('The database is away.')
  const gate = createGate('gate', ({ model }) => {
    if (model.provider === 'b') throw away
    return null
  })
  const ai = createTestAi({ a: first, b: second }, { gates: [gate], logger: logs.logger })
  first.replyAlways(stream(text('Hel'), text('lo'), cut))

  const seen = await callModel(ai)

  expect(outcomes(seen)).toEqual(['a/m interrupted'])
  expect(seen.error).toMatchObject({
    code: 'MODEL_FAILED',
    kind: 'interrupted',
    retryable: true,
    partialText: 'Hello',
    cause: away,
    attempts: [{ usage: { outputTokens: 2, estimated: true } }],
  })
  expect(gate.log).toEqual(['gate admits a/m', 'gate hears interrupted of a/m'])
  expect(second.requests).toHaveLength(0)
  logs.assertNoErrors()
})

test('says in the log when it is a fault of the program that ended a call that was paid for', async () => {
  await using first = await startModelServer()
  await using second = await startModelServer()
  const logs = captureLogs()
  const gate = createGate('gate', ({ model }) => {
    if (model.provider === 'b') throw new TypeError('a fault')
    return null
  })
  const ai = createTestAi({ a: first, b: second }, { gates: [gate], logger: logs.logger })
  first.replyAlways(httpError(401))

  expect(outcomes(await callModel(ai))).toEqual(['a/m authentication_failed'])
  expect(logs.takeError('a call ended by a fault of this program')).toMatchObject({ err: { message: 'a fault' } })
})

test('fails with what a gate throws when nothing was asked before', async () => {
  await using server = await startModelServer()
  const away = new ServiceUnavailableError('The database is away.')
  const gate = createGate('gate', () => {
    throw away
  })
  const ai = createTestAi({ a: server }, { gates: [gate] })

  await expect(callModel(ai)).rejects.toBe(away)
  expect(server.requests).toHaveLength(0)
})
