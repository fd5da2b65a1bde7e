import { afterAll, beforeAll } from 'vitest'
import { startTestApp, type TestApp } from '../support/test-app.ts'
import { attackSuite, outcomeOf, post, raw } from './attack.ts'

// Requests that are not what they say, or not what anybody should take.

let app: TestApp
beforeAll(async () => {
  app = await startTestApp({ env: { LIMIT_BODY_BYTES: '65536', GRAPHQL_INTROSPECTION: 'off', GRAPHIQL: 'off' } })
  await app.signUp()
})
afterAll(() => app[Symbol.asyncDispose]())

const signUp = (n: number): string =>
  `mutation { signUp(input: { email: "forged-${n}@example.com", password: "violet-otter-canyon-42" }) { accessToken } }`
const body = (n: number): string => JSON.stringify({ query: signUp(n) })
const head = (...lines: string[]): string =>
  ['POST /graphql HTTP/1.1', 'Host: localhost', 'Connection: close', ...lines, '', ''].join('\r\n')
const json = 'Content-Type: application/json'
const mediaType = { status: 415, code: 'BAD_USER_INPUT' }

attackSuite('a request', () => ({ app }), [
  {
    name: 'makes an account by GET',
    send: async () => outcomeOf(await app.request(`/graphql?query=${encodeURIComponent(signUp(1))}`)),
    expected: { status: 405, code: 'METHOD_NOT_ALLOWED' },
  },
  {
    name: 'makes an account by GET, as an event stream',
    send: async () =>
      outcomeOf(
        await app.request(`/graphql?query=${encodeURIComponent(signUp(2))}`, {
          headers: { accept: 'text/event-stream' },
        }),
      ),
    expected: { code: 'METHOD_NOT_ALLOWED' },
  },
  {
    name: 'makes an account by HEAD',
    send: async () =>
      outcomeOf(await app.request(`/graphql?query=${encodeURIComponent(signUp(3))}`, { method: 'HEAD' })),
    expected: { status: 405 },
  },
  {
    name: 'says with a header that its GET is a POST',
    send: async () =>
      outcomeOf(
        await app.request(`/graphql?query=${encodeURIComponent(signUp(4))}`, {
          headers: { 'x-http-method-override': 'POST' },
        }),
      ),
    expected: { status: 405 },
  },
  {
    name: 'is a form that a foreign page sends',
    send: () =>
      post(app, `query=${encodeURIComponent(signUp(5))}`, {
        headers: { 'content-type': 'application/x-www-form-urlencoded' },
      }),
    expected: mediaType,
  },
  {
    name: 'is JSON that calls itself text, as a foreign page may send it',
    send: () => post(app, body(6), { headers: { 'content-type': 'text/plain' } }),
    expected: mediaType,
  },
  {
    name: 'is JSON in a multipart form',
    send: async () => {
      const form = new FormData()
      form.set('operations', body(7))
      form.set('map', '{}')
      return outcomeOf(await app.request('/graphql', { method: 'POST', body: form }))
    },
    expected: mediaType,
  },
  {
    name: 'hides one media type behind another',
    send: () => post(app, body(8), { headers: { 'content-type': 'text/plain; application/json' } }),
    expected: mediaType,
  },
  {
    name: 'is a batch of guesses',
    send: () => post(app, `[${body(9)},${body(10)}]`),
    expected: { status: 400, code: 'BAD_USER_INPUT', details: { field: 'body' } },
  },
  {
    name: 'is too large',
    send: () => post(app, { query: signUp(11), extensions: { pad: 'x'.repeat(65_536) } }),
    expected: { status: 413, code: 'BAD_USER_INPUT' },
  },
  {
    name: 'is too large, and does not say how large',
    send: () =>
      raw(app, [
        head(json, 'Transfer-Encoding: chunked'),
        ...Array.from({ length: 40 }, () => `1000\r\n${'x'.repeat(4096)}\r\n`),
      ]),
    expected: { status: 413 },
  },
  {
    name: 'unpacks to more than it is',
    send: () => post(app, body(12), { headers: { 'content-encoding': 'gzip' } }),
    expected: mediaType,
  },
  {
    name: 'has two lengths (request smuggling)',
    send: () => raw(app, [head(json, 'Content-Length: 4', 'Content-Length: 60'), body(13)]),
    expected: { status: 400 },
  },
  {
    name: 'has a length and chunks (request smuggling)',
    send: () => raw(app, [head(json, 'Content-Length: 4', 'Transfer-Encoding: chunked'), `0\r\n\r\n${head(json)}`]),
    expected: { status: 400 },
  },
  {
    name: 'has more headers than anybody sends',
    send: () => raw(app, [head(json, `X-Pad: ${'x'.repeat(20_000)}`)]),
    expected: { status: 431 },
  },
  {
    name: 'breaks the header of the answer in two',
    send: () => raw(app, [head(json, 'X-Request-Id: a\tb\x0bset-cookie: x=y', 'Content-Length: 0')]),
    expected: { status: 400 },
  },
  {
    name: 'walks out of the folder',
    send: () => raw(app, ['GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n']),
    expected: { status: 404, code: 'NOT_FOUND' },
  },
  {
    name: 'asks for the schema of a server that does not tell it',
    send: () => post(app, { query: '{ __schema { types { name } } }' }),
    expected: { code: 'GRAPHQL_VALIDATION_FAILED', data: null },
  },
  {
    name: 'asks for one type of a server that does not tell it',
    send: () => post(app, { query: '{ __type(name: "User") { fields { name } } }' }),
    expected: { code: 'GRAPHQL_VALIDATION_FAILED', data: null },
  },
  {
    name: 'asks for GraphiQL of a server that has none',
    send: async () => outcomeOf(await app.request('/graphql', { headers: { accept: 'text/html' } })),
    expected: { status: 405, code: 'METHOD_NOT_ALLOWED' },
  },
  {
    name: 'comes from a page of another origin, whose browser is told nothing',
    send: () => post(app, { query: '{ __typename }' }, { headers: { origin: 'https://evil.example' } }),
    expected: {
      headers: { 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' },
      text: '{"data":{"__typename":"Query"},"extensions":{"cost":{"requested":1,"maximum":5000}}}',
    },
  },
  {
    name: 'pollutes prototypes with its body',
    send: () =>
      post(
        app,
        '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"query":"{ __typename }","variables":{"__proto__":{"polluted":1}}}',
      ),
    expected: { status: 200, data: { __typename: 'Query' } },
  },
  {
    name: 'is not UTF-8',
    send: () =>
      raw(app, [
        head(json, 'Content-Length: 16'),
        Buffer.from([0x7b, 0x22, 0xff, 0xfe, ...Array.from({ length: 12 }, () => 0x20)]),
      ]),
    expected: { status: 400, code: 'BAD_USER_INPUT' },
  },
  {
    name: 'names a document that the server does not know',
    send: () => post(app, { documentId: `sha256:${'a'.repeat(64)}` }),
    expected: { code: 'FORBIDDEN' },
  },
])
