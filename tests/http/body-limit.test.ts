import { afterAll, expect, test, vi } from 'vitest'
import { openConnection, sendRaw } from '../support/raw-http.ts'
import { startTestApp } from '../support/test-app.ts'

const maxBytes = 64 * 1024
const app = await startTestApp({ env: { LIMIT_BODY_BYTES: String(maxBytes) } })
afterAll(() => app[Symbol.asyncDispose]())

const refusal = {
  errors: [
    {
      message: `The body may have at most ${maxBytes} bytes.`,
      extensions: { code: 'BAD_USER_INPUT', details: { field: 'body', maxBytes } },
    },
  ],
}

const padded = (bytes: number): string => {
  const start = '{"query": "{ __typename }", "extensions": {"pad": "'
  return `${start}${'x'.repeat(bytes - start.length - 3)}"}}`
}

const head = (lines: string[]): string =>
  ['POST /graphql HTTP/1.1', 'Host: localhost', 'Content-Type: application/json', ...lines, '', ''].join('\r\n')

test('takes a body of exactly the limit', async () => {
  const body = padded(maxBytes)
  const response = await app.request('/graphql', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
  })
  expect([body.length, await response.json()]).toMatchObject([maxBytes, { data: { __typename: 'Query' } }])
})

test('refuses a body of one byte more with 413', async () => {
  const response = await app.request('/graphql', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: padded(maxBytes + 1),
  })
  expect(response.status).toBe(413)
  expect(await response.json()).toMatchObject(refusal)
})

test('refuses a body that says that it is too large before it is sent', async () => {
  const { status, body } = await sendRaw(app.url, [head(['Content-Length: 999999999'])])
  expect(status).toBe(413)
  expect(JSON.parse(body)).toMatchObject(refusal)
})

test('refuses a chunked body as soon as it is too large, and closes the connection', async () => {
  function* endless(): Generator<string> {
    yield head(['Transfer-Encoding: chunked'])
    for (let sent = 0; sent < 32 * maxBytes; sent += 4096) yield `1000\r\n${'x'.repeat(4096)}\r\n`
  }
  const { status, head: answer, body } = await sendRaw(app.url, endless())
  expect(status).toBe(413)
  expect(answer.toLowerCase()).toContain('connection: close')
  expect(JSON.parse(body)).toMatchObject(refusal)
})

test('a client that breaks off in the middle of its body is no error', async () => {
  const socket = await openConnection(app.url)
  socket.write(`${head(['Content-Length: 100', 'X-Request-Id: broken-off'])}{"que`)
  socket.end()
  await vi.waitFor(
    () => expect(app.logs.lines).toContainEqual(expect.objectContaining({ requestId: 'broken-off', level: 'debug' })),
    { timeout: 5_000 },
  )
  app.logs.assertNoErrors()
})
