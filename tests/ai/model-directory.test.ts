import { expect, test } from 'vitest'
import { BadUserInputError } from '../../src/lib/errors.ts'
import { answer, startModelServer } from '../support/model-server.ts'
import { callModel, createTestAi } from './call-model.ts'

const providers = [
  { name: 'openai', baseUrl: null, apiKey: 'key' },
  { name: 'own', baseUrl: 'http://127.0.0.1:9/v1', apiKey: '' },
]
const options = { providers, defaultModels: ['fast'], aliases: { fast: 'openai/gpt-5-mini', big: 'own/org/big:70b' } }

test('finds models by name and by alias, and each one once', () => {
  const ai = createTestAi({}, options)

  expect(ai.resolve(['big', 'openai/gpt-5-mini', 'fast'])).toEqual([
    { name: 'own/org/big:70b', provider: 'own', model: 'org/big:70b', alias: 'big' },
    { name: 'openai/gpt-5-mini', provider: 'openai', model: 'gpt-5-mini', alias: null },
  ])
  expect(ai.resolve([]).map(({ name }) => name)).toEqual(['openai/gpt-5-mini'])
})

test.each(['nobody/gpt', 'slow', 'openai/', '/gpt', '', 'openai', '__proto__'])(
  'refuses the model name "%s"',
  (name) => {
    const ai = createTestAi({}, options)
    const resolve = (): unknown => ai.resolve(['fast', name], 'input.models')

    expect(resolve).toThrow(BadUserInputError)
    expect(resolve).toThrow(
      expect.objectContaining({
        details: { field: 'input.models.1', providers: ['demo', 'openai', 'own'], aliases: ['fast', 'big'] },
      }),
    )
  },
)

test('refuses more models than a chain may have', () => {
  const ai = createTestAi({}, options)
  const many = Array.from({ length: 11 }, (_, index) => `own/${String(index)}`)

  expect(() => ai.resolve(many)).toThrow(BadUserInputError)
})

test.each([
  ['two providers of one name', { providers: [...providers, ...providers] }, /"openai" is taken/],
  ['a provider named demo', { providers: [{ name: 'demo', baseUrl: null, apiKey: 'x' }] }, /"demo" is taken/],
  ['a provider name with a slash', { providers: [{ name: 'a/b', baseUrl: null, apiKey: 'x' }] }, /not a name/],
  ['an alias of an unknown provider', { aliases: { fast: 'nobody/x' } }, /alias "fast" names "nobody\/x"/],
  ['an alias of an alias', { aliases: { fast: 'own/x', quick: 'fast' } }, /alias "quick" names "fast"/],
  ['an unknown default', { defaultModels: ['nobody/x'] }, /default model "nobody\/x"/],
])('is not made with %s', (_what, wrong, message) => {
  expect(() => createTestAi({}, { ...options, ...wrong })).toThrow(message)
})

test('a chain goes on without a model whose provider has gone, and fails when none is left', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server })
  server.reply(answer('good'))

  expect((await callModel(ai, { models: ['gone/m', 'a/m'] })).answer?.model).toBe('a/m')
  expect((await callModel(ai, { models: ['gone/m'] })).error).toMatchObject({
    kind: 'unknown_model',
    retryable: false,
    attempts: [],
  })
})
