import { expect, test } from 'vitest'
import { BadUserInputError } from '../../src/lib/errors.ts'
import { createOutputSchemas, maxOutputSchemaBytes } from '../../src/ai/output-schema.ts'
import { maxRepairedChars } from '../../src/ai/repair.ts'
import { answer, done, finish, httpError, startModelServer, stream, text } from '../support/model-server.ts'
import { callModel, createTestAi, outcomes } from './call-model.ts'

const outputSchema = {
  type: 'object',
  properties: { city: { type: 'string' }, degrees: { type: 'number' } },
  required: ['city', 'degrees'],
  additionalProperties: false,
}

test('asks for structured output and hands the parsed value on', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server })
  server.reply(answer('{"city":"Köln",', '"degrees":21.5}'))

  const seen = await callModel(ai, { outputSchema })

  expect(seen.answer?.json).toEqual({ city: 'Köln', degrees: 21.5 })
  expect(server.requests[0]?.body['response_format']).toEqual({
    type: 'json_schema',
    json_schema: { name: 'answer', schema: outputSchema },
  })
})

test('puts the schema into the instructions of an endpoint that knows no structured output', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server })
  server.replyAlways(({ body }) =>
    'response_format' in body
      ? httpError(400, { message: 'response_format is not supported' })
      : answer('```json\n{"city":"Bonn","degrees":3}\n```'),
  )

  const messages = [
    { role: 'system', content: 'Be exact.' },
    { role: 'user', content: 'Weather?' },
  ] as const
  const seen = await callModel(ai, { outputSchema, messages })

  expect(outcomes(seen)).toEqual(['a/m option_refused', 'a/m succeeded'])
  expect(seen.answer?.json).toEqual({ city: 'Bonn', degrees: 3 })
  expect(server.requests[1]?.body['messages']).toEqual([
    messages[0],
    { role: 'system', content: expect.stringContaining(JSON.stringify(outputSchema)) },
    messages[1],
  ])
})

test.each([
  ['is not JSON', 'The weather is nice.', 'the answer is not JSON'],
  ['is not valid', '{"city":"Bonn","degrees":"3"}', '"/degrees" must be number'],
])('tells the model what is wrong when its answer %s, and takes the next one', async (_what, wrong, problem) => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server })
  server.reply(answer(wrong), answer('{"city":"Ulm","degrees":4}'))
  const messages = [{ role: 'user', content: 'Weather?' }] as const

  const seen = await callModel(ai, { outputSchema, messages })

  expect(outcomes(seen)).toEqual(['a/m invalid_output', 'a/m succeeded'])
  expect(server.requests[1]?.body['messages']).toEqual([
    messages[0],
    { role: 'assistant', content: wrong },
    { role: 'user', content: expect.stringContaining(problem) },
  ])
  expect(seen.events).toContain(
    `started a/m because a/m failed in the middle of its answer (invalid_output): ${problem}`,
  )
  expect(seen.answer).toMatchObject({ text: '{"city":"Ulm","degrees":4}', json: { city: 'Ulm', degrees: 4 } })
  expect(seen.answer?.attempts).toMatchObject([{ usage: { outputTokens: 1 } }, { usage: { outputTokens: 1 } }])
})

test('asks the next model from the start when the repaired answer is not valid either', async () => {
  await using first = await startModelServer()
  await using second = await startModelServer()
  const ai = createTestAi({ a: first, b: second })
  first.replyAlways(answer('The weather is nice.'))
  second.reply(answer('{"city":"Ulm","degrees":4}'))

  const seen = await callModel(ai, { outputSchema })

  expect(outcomes(seen)).toEqual(['a/m invalid_output', 'a/m invalid_output', 'b/m succeeded'])
  expect(second.requests[0]?.body['messages']).toEqual([{ role: 'user', content: 'Say hello.' }])
})

test('asks the next model when the repair turn fails in another way', async () => {
  await using first = await startModelServer()
  await using second = await startModelServer()
  const ai = createTestAi({ a: first, b: second })
  first.reply(answer('no'), httpError(503))
  second.reply(answer('{"city":"Ulm","degrees":4}'))

  expect(outcomes(await callModel(ai, { outputSchema }))).toEqual([
    'a/m invalid_output',
    'a/m overloaded',
    'b/m succeeded',
  ])
})

test.each([
  ['was cut at the maximum of tokens', stream(text('{"city":"Bo'), finish('length'), done)],
  ['is empty', stream(finish(), done)],
  ['is too long to be read again', answer('x'.repeat(maxRepairedChars + 1))],
])('asks the next model, without a repair turn, when an answer %s', async (_what, reply) => {
  await using first = await startModelServer()
  await using second = await startModelServer()
  const ai = createTestAi({ a: first, b: second })
  first.replyAlways(reply)
  second.reply(answer('{"city":"Ulm","degrees":4}'))

  expect(outcomes(await callModel(ai, { outputSchema }))).toEqual(['a/m invalid_output', 'b/m succeeded'])
})

test('does not begin again, not even for a repair, when the caller wants an error instead', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server })
  server.replyAlways(answer('no'))

  const seen = await callModel(ai, { outputSchema, onInterrupt: 'ERROR' })

  expect(outcomes(seen)).toEqual(['a/m invalid_output'])
  expect(seen.error).toMatchObject({ kind: 'invalid_output', partialText: 'no' })
})

test('fails when no model gives a valid answer, with what each may have cost', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server })
  server.replyAlways(answer('no'))

  const seen = await callModel(ai, { outputSchema })

  expect(seen.error).toMatchObject({ kind: 'invalid_output', retryable: true, partialText: 'no' })
  expect(seen.error?.attempts).toMatchObject([
    { outcome: 'invalid_output', usage: { inputTokens: 11, estimated: false } },
    { outcome: 'invalid_output', usage: { inputTokens: 11, estimated: false } },
  ])
})

const outputSchemas = createOutputSchemas()
const compile = (schema: unknown, field?: string) => outputSchemas.compile(schema, field)

test('a value of null is one', () => {
  expect(compile({ type: 'null' }).check('null')).toEqual({ ok: true, value: null })
})

test('understands draft-07 and formats', () => {
  const schema = compile({
    $schema: 'http://json-schema.org/draft-07/schema#',
    definitions: { when: { type: 'string', format: 'date-time' } },
    type: 'array',
    items: [{ $ref: '#/definitions/when' }],
  })
  expect(schema.check('["2025-01-01T00:00:00Z"]').ok).toBe(true)
  expect(schema.check('["yesterday"]')).toEqual({ ok: false, problem: '"/0" must match format "date-time"' })
})

test.each<[string, unknown, RegExp]>([
  ['is no object', 'string', /must be an object/],
  ['has an unknown type', { type: 'text' }, /must be equal to one of the allowed values/],
  ['refers to something outside itself', { $ref: 'https://example.com/schema' }, /can't resolve reference/],
  ['has a broken pattern', { type: 'string', pattern: '((' }, /Unterminated group|must match format "regex"/],
  ['is of an unknown draft', { $schema: 'http://json-schema.org/draft-04/schema#' }, /draft-07 or 2020-12/],
  ['would be validated later', { $async: true, type: 'object' }, /\$async/],
  ['is too large', { enum: ['x'.repeat(maxOutputSchemaBytes)] }, /larger than 32768 bytes/],
])('refuses a schema that %s', (_what, schema, message) => {
  const compileIt = (): unknown => compile(schema, 'input.outputSchema')
  expect(compileIt).toThrow(BadUserInputError)
  expect(compileIt).toThrow(message)
  expect(compileIt).toThrow(
    expect.objectContaining({ details: expect.objectContaining({ field: 'input.outputSchema' }) }),
  )
})

test('does not let a pattern that backtracks for ever hold up the program', () => {
  const startedMs = performance.now()
  const check = compile({ type: 'string', pattern: '^(a+)+$' }).check(`"${'a'.repeat(50)}b"`)
  expect(check).toMatchObject({ ok: false, problem: expect.stringContaining('longer than') })
  expect(performance.now() - startedMs).toBeLessThan(10_000)
})

test('does not fall for a schema that refers to itself without end', () => {
  expect(compile({ allOf: [{ $ref: '#' }] }).check('1')).toMatchObject({ ok: false })
})

test('keeps the names of one schema from another', () => {
  compile({ $id: 'https://example.com/one', $defs: { inner: { $id: 'inner', type: 'string' } } })
  expect(() => compile({ $id: 'https://example.com/two', $ref: 'inner' })).toThrow(/can't resolve reference/)
})
