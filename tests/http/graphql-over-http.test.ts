import { afterAll, describe, expect, test } from 'vitest'
import { probe } from '../support/graphql-test-fields.ts'
import { startTestApp } from '../support/test-app.ts'

const origin = 'https://dashboard.example'
const app = await startTestApp({ env: { PUBLIC_ORIGINS: origin } })
afterAll(() => app[Symbol.asyncDispose]())

const json = { 'content-type': 'application/json' }
const graphqlResponse = 'application/graphql-response+json'

const post = (body: string | Uint8Array<ArrayBuffer>, headers: Record<string, string> = json): Promise<Response> =>
  app.request('/graphql', { method: 'POST', headers, body })
const get = (query: Record<string, string>, headers: Record<string, string> = {}): Promise<Response> =>
  app.request(`/graphql?${new URLSearchParams(query)}`, { headers })

const open = JSON.stringify({ query: '{ testOpen }' })
const mutation = 'mutation { testCount }'

describe('an operation that is not taken', () => {
  const cases: { name: string; send: () => Promise<Response>; status: number; code: string; field?: string }[] = [
    { name: 'PUT', send: () => app.request('/graphql', { method: 'PUT' }), status: 405, code: 'METHOD_NOT_ALLOWED' },
    {
      name: 'DELETE',
      send: () => app.request('/graphql', { method: 'DELETE' }),
      status: 405,
      code: 'METHOD_NOT_ALLOWED',
    },
    { name: 'a query by GET', send: () => get({ query: '{ testOpen }' }), status: 405, code: 'METHOD_NOT_ALLOWED' },
    { name: 'a mutation by GET', send: () => get({ query: mutation }), status: 405, code: 'METHOD_NOT_ALLOWED' },
    {
      name: 'a mutation by GET as an event stream',
      send: () => get({ query: mutation }, { accept: 'text/event-stream' }),
      status: 405,
      code: 'METHOD_NOT_ALLOWED',
    },
    {
      name: 'a query by GET as an event stream',
      send: () => get({ query: '{ testOpen }' }, { accept: 'text/event-stream' }),
      status: 405,
      code: 'METHOD_NOT_ALLOWED',
    },
    {
      name: 'a subscription with a side effect by GET',
      send: () =>
        get(
          { query: 'subscription { completion(input: { prompt: "a" }) { __typename } }' },
          { accept: 'text/event-stream' },
        ),
      status: 405,
      code: 'METHOD_NOT_ALLOWED',
    },
    {
      name: 'a subscription with a side effect by GET, in a fragment',
      send: () =>
        get(
          {
            query:
              'subscription { ...S } fragment S on Subscription { completion(input: { prompt: "a" }) { __typename } }',
          },
          { accept: 'text/event-stream' },
        ),
      status: 405,
      code: 'METHOD_NOT_ALLOWED',
    },
    {
      name: 'a subscription by a client that reads JSON only',
      send: () =>
        post(JSON.stringify({ query: 'subscription { testTicks(count: 1) }' }), {
          ...json,
          accept: 'application/json',
        }),
      status: 405,
      code: 'METHOD_NOT_ALLOWED',
    },
    {
      name: 'a form',
      send: () =>
        post(`query=${encodeURIComponent(mutation)}`, { 'content-type': 'application/x-www-form-urlencoded' }),
      status: 415,
      code: 'BAD_USER_INPUT',
      field: 'content-type',
    },
    {
      name: 'a multipart form',
      send: () => {
        const form = new FormData()
        form.set('operations', JSON.stringify({ query: mutation }))
        form.set('map', '{}')
        return app.request('/graphql', { method: 'POST', body: form })
      },
      status: 415,
      code: 'BAD_USER_INPUT',
      field: 'content-type',
    },
    {
      name: 'application/graphql',
      send: () => post(mutation, { 'content-type': 'application/graphql' }),
      status: 415,
      code: 'BAD_USER_INPUT',
      field: 'content-type',
    },
    {
      name: 'JSON sent as text/plain, as a foreign page could',
      send: () => post(JSON.stringify({ query: mutation }), { 'content-type': 'text/plain' }),
      status: 415,
      code: 'BAD_USER_INPUT',
      field: 'content-type',
    },
    {
      name: 'no content type',
      send: () => app.request('/graphql', { method: 'POST', body: Buffer.from(open) }),
      status: 415,
      code: 'BAD_USER_INPUT',
      field: 'content-type',
    },
    {
      name: 'another character set',
      send: () => post(open, { 'content-type': 'application/json; charset=utf-16' }),
      status: 415,
      code: 'BAD_USER_INPUT',
      field: 'content-type',
    },
    {
      name: 'a compressed body',
      send: () => post(open, { ...json, 'content-encoding': 'gzip' }),
      status: 415,
      code: 'BAD_USER_INPUT',
      field: 'content-type',
    },
    {
      name: 'an answer of a type that there is not',
      send: () => post(open, { ...json, accept: 'image/png' }),
      status: 406,
      code: 'BAD_USER_INPUT',
      field: 'accept',
    },
    { name: 'an empty body', send: () => post(''), status: 400, code: 'BAD_USER_INPUT', field: 'body' },
    { name: 'half a body', send: () => post('{"query": "{ test'), status: 400, code: 'BAD_USER_INPUT', field: 'body' },
    {
      name: 'a body that is not UTF-8',
      send: () => post(Buffer.from([0x22, 0xff, 0x22])),
      status: 400,
      code: 'BAD_USER_INPUT',
      field: 'body',
    },
    { name: 'null', send: () => post('null'), status: 400, code: 'BAD_USER_INPUT', field: 'body' },
    { name: 'a batch', send: () => post(`[${open}]`), status: 400, code: 'BAD_USER_INPUT', field: 'body' },
    { name: 'no document', send: () => post('{}'), status: 400, code: 'BAD_USER_INPUT', field: 'query' },
    {
      name: 'a document of numbers',
      send: () => post('{"query": 7}'),
      status: 400,
      code: 'BAD_USER_INPUT',
      field: 'query',
    },
    {
      name: 'a list of variables',
      send: () => post('{"query": "{ testOpen }", "variables": []}'),
      status: 400,
      code: 'BAD_USER_INPUT',
      field: 'variables',
    },
    {
      name: 'variables as text',
      send: () => post('{"query": "{ testOpen }", "variables": "{}"}'),
      status: 400,
      code: 'BAD_USER_INPUT',
      field: 'variables',
    },
    {
      name: 'a name that is no text',
      send: () => post('{"query": "{ testOpen }", "operationName": {}}'),
      status: 400,
      code: 'BAD_USER_INPUT',
      field: 'operationName',
    },
    {
      name: 'extensions as text',
      send: () => post('{"query": "{ testOpen }", "extensions": "x"}'),
      status: 400,
      code: 'BAD_USER_INPUT',
      field: 'extensions',
    },
    {
      name: 'variables of a GET that are not JSON',
      send: () => get({ query: 'subscription { taskStream }', variables: '{' }, { accept: 'text/event-stream' }),
      status: 400,
      code: 'BAD_USER_INPUT',
      field: 'variables',
    },
    {
      name: 'an Authorization header of another kind',
      send: () => post(open, { ...json, authorization: 'Basic YTpi' }),
      status: 401,
      code: 'UNAUTHENTICATED',
    },
    {
      name: 'a forged token, also for what needs none',
      send: () => post(open, { ...json, authorization: 'Bearer a.b.c' }),
      status: 401,
      code: 'UNAUTHENTICATED',
    },
  ]

  test.each(cases)('$name', async ({ send, status, code, field }) => {
    const counted = probe.count
    const response = await send()
    const body: { errors: { extensions: Record<string, unknown> }[] } = JSON.parse(await eventData(response))
    expect({ status: response.status, ...body }).toMatchObject({
      status,
      errors: [
        {
          message: expect.any(String),
          extensions: {
            code,
            details: field === undefined ? expect.any(Object) : expect.objectContaining({ field }),
            timestamp: expect.any(String),
            requestId: response.headers.get('x-request-id'),
            suggestions: expect.any(Array),
          },
        },
      ],
    })
    expect(response.headers.get('cache-control')).toContain('no-')
    expect(probe.count).toBe(counted)
  })
})

test('an EventSource gets its events by GET', async () => {
  const { token } = await app.signUp()
  const query = 'subscription ($id: ID!) { taskStream(taskId: $id) { __typename } }'
  const id = Buffer.from('Task:01890a5d-ac96-774b-bcce-b302099a8057').toString('base64')
  const headers = { accept: 'text/event-stream', authorization: `Bearer ${token}` }
  const response = await get({ query, variables: JSON.stringify({ id }) }, headers)
  expect([response.status, response.headers.get('content-type')]).toEqual([200, 'text/event-stream'])
  expect(JSON.parse(await eventData(response))).toMatchObject({ errors: [{ extensions: { code: 'NOT_FOUND' } }] })
})

/** The body; of an event stream, what its one event says. */
async function eventData(response: Response): Promise<string> {
  const text = await response.text()
  return /^data: (.*)$/m.exec(text)?.[1] ?? text
}

describe('the status of an answer', () => {
  const documents = [
    { name: 'data', query: '{ testOpen }', graphql: 200, json: 200 },
    { name: 'data with an error', query: '{ testOpen testConflict }', graphql: 200, json: 200 },
    { name: 'no data, because a field needs an account', query: '{ testClosed }', graphql: 200, json: 200 },
    { name: 'a syntax error', query: '{', graphql: 400, json: 200 },
    { name: 'an invalid document', query: '{ nothing }', graphql: 400, json: 200 },
    { name: 'a missing variable', query: 'query ($c: Int!) { testEcho(count: $c) }', graphql: 400, json: 200 },
  ]

  test.each(documents)('$name', async ({ query, graphql, json: plain }) => {
    const body = JSON.stringify({ query })
    const modern = await post(body, { ...json, accept: graphqlResponse })
    expect([modern.status, modern.headers.get('content-type')]).toEqual([graphql, `${graphqlResponse}; charset=utf-8`])
    const legacy = await post(body, { ...json, accept: 'application/json' })
    expect([legacy.status, legacy.headers.get('content-type')]).toEqual([plain, 'application/json; charset=utf-8'])
  })

  test('is that of the body when any type is accepted', async () => {
    const response = await post(open, { ...json, accept: '*/*' })
    expect([response.status, await response.json()]).toMatchObject([200, { data: { testOpen: 'open' } }])
  })
})

test('takes a body with a byte order mark, parameters of the type, and fields it does not know', async () => {
  const response = await post(`\ufeff{"query": "query A { testOpen }", "operationName": "A", "id": "1"}`, {
    'content-type': 'Application/JSON; Charset="UTF-8"',
  })
  expect(await response.json()).toMatchObject({ data: { testOpen: 'open' } })
})

test('runs the operation that is named', async () => {
  const query = 'query A { testOpen } query B { __typename }'
  const response = await post(JSON.stringify({ query, operationName: 'B' }))
  expect(await response.json()).toMatchObject({ data: { __typename: 'Query' } })
})

test('introspection works in development', async () => {
  expect(await app.data('{ __schema { queryType { name } } }')).toEqual({ __schema: { queryType: { name: 'Query' } } })
})

describe('a page of another origin', () => {
  const preflight = (from: string): Promise<Response> =>
    app.request('/graphql', {
      method: 'OPTIONS',
      headers: { origin: from, 'access-control-request-method': 'POST' },
    })

  test('may call the API when it is listed', async () => {
    const asked = await preflight(origin)
    expect(asked.status).toBe(204)
    expect(asked.headers.get('access-control-allow-origin')).toBe(origin)
    expect(asked.headers.get('access-control-allow-headers')).toContain('authorization')
    const answer = await post(open, { ...json, origin })
    expect(answer.headers.get('access-control-allow-origin')).toBe(origin)
    expect(answer.headers.get('vary')).toBe('Origin')
    expect(answer.headers.get('access-control-allow-credentials')).toBe('true')
  })

  test('gets no permission otherwise', async () => {
    for (const from of ['https://evil.example', `${origin}.evil.example`, 'null']) {
      const asked = await preflight(from)
      expect(asked.headers.get('access-control-allow-origin')).toBeNull()
      const answer = await post(open, { ...json, origin: from })
      expect(answer.headers.get('access-control-allow-origin')).toBeNull()
      expect(answer.headers.get('access-control-allow-credentials')).toBeNull()
    }
  })
})
