import { expect, test } from 'vitest'
import { answer, httpError, startModelServer } from '../support/model-server.ts'
import { callModel, createTestAi, outcomes } from './call-model.ts'

test('calls an endpoint that refuses stream_options again without it, and remembers', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server })
  server.replyAlways(({ body }) =>
    'stream_options' in body
      ? httpError(400, { message: 'Unrecognized request argument supplied: stream_options' })
      : {
          ...answer('good'),
          acts: answer('good').acts.filter((act) => act.do !== 'write' || !String(act.bytes).includes('usage')),
        },
  )

  const first = await callModel(ai)
  const second = await callModel(ai, { models: ['a/other'] })

  expect(outcomes(first)).toEqual(['a/m option_refused', 'a/m succeeded'])
  expect(outcomes(second)).toEqual(['a/other succeeded'])
  expect(second.answer?.usage).toMatchObject({ inputTokens: 3, outputTokens: 1, estimated: true })
})

test('learns from two refusals that come at the same time', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server })
  server.replyAlways(({ body }) =>
    'stream_options' in body
      ? httpError(422, { message: 'include_usage: Extra inputs are not permitted' })
      : answer('good'),
  )

  const both = await Promise.all([callModel(ai), callModel(ai)])

  expect(both.map(outcomes)).toEqual([
    ['a/m option_refused', 'a/m succeeded'],
    ['a/m option_refused', 'a/m succeeded'],
  ])
})

test('names the maximum of output tokens as the endpoint knows it, and remembers for the model', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server })
  server.replyAlways(({ body }) =>
    'max_tokens' in body
      ? httpError(400, {
          message:
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
          code: 'unsupported_parameter',
        })
      : answer('good'),
  )

  const first = await callModel(ai, { maxOutputTokens: 50 })
  const second = await callModel(ai, { maxOutputTokens: 60 })

  expect(outcomes(first)).toEqual(['a/m option_refused', 'a/m succeeded'])
  expect(outcomes(second)).toEqual(['a/m succeeded'])
  expect(server.requests.map(({ body }) => [body['max_tokens'], body['max_completion_tokens']])).toEqual([
    [50, undefined],
    [undefined, 50],
    [undefined, 60],
  ])
})

test('a maximum that is too large is a bad request, not an unknown option', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server })
  server.replyAlways(httpError(400, { message: 'max_tokens is too large: 50. This model supports at most 10.' }))

  expect(outcomes(await callModel(ai, { maxOutputTokens: 50 }))).toEqual(['a/m bad_request'])
})

test('does not go to and fro with an endpoint that refuses both names', async () => {
  await using server = await startModelServer()
  const ai = createTestAi({ a: server })
  server.replyAlways(httpError(400, { message: 'Unsupported: max_tokens, max_completion_tokens' }))

  expect(outcomes(await callModel(ai, { maxOutputTokens: 50 }))).toEqual(['a/m option_refused', 'a/m bad_request'])
})
