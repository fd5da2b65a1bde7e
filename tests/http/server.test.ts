import { afterAll, describe, expect, test } from 'vitest'
import { probe } from '../support/graphql-test-fields.ts'
import { sendRaw } from '../support/raw-http.ts'
import { startTestApp } from '../support/test-app.ts'

const app = await startTestApp()
afterAll(() => app[Symbol.asyncDispose]())

const uuidV7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

describe('the request id', () => {
  test.each(['a', 'Trace_1.2-3', 'x'.repeat(128)])('is kept when it is harmless: %s', async (id) => {
    const response = await app.request('/health/live', { headers: { 'x-request-id': id } })
    expect(response.headers.get('x-request-id')).toBe(id)
  })

  test.each(['', 'x'.repeat(129), 'a b', 'a"b', '<script>', 'a;b', '{}'])('is replaced otherwise: %s', async (id) => {
    const response = await app.request('/health/live', { headers: { 'x-request-id': id } })
    expect(response.headers.get('x-request-id')).toMatch(uuidV7)
  })

  test('is replaced when there are two', async () => {
    const { head } = await sendRaw(app.url, [
      'GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Request-Id: a\r\nX-Request-Id: b\r\n\r\n',
    ])
    expect(/x-request-id: (.*)/i.exec(head)?.[1]).toMatch(uuidV7)
  })

  test('is in the errors of the operation and in the log', async () => {
    const { errors } = await app.graphql('{ testBug }', {}, { headers: { 'x-request-id': 'trace-7' } })
    expect(errors?.[0]?.extensions.requestId).toBe('trace-7')
    expect(app.logs.takeError('an operation failed unexpectedly')['requestId']).toBe('trace-7')
  })
})

describe('every answer', () => {
  test.each(['/', '/graphql', '/health/live', '/.well-known/jwks.json', '/nothing'])(
    '%s has the headers of safety',
    async (path) => {
      const { headers } = await app.request(path)
      expect(headers.get('x-content-type-options')).toBe('nosniff')
      expect(headers.get('referrer-policy')).toBe('no-referrer')
      expect(headers.get('content-security-policy')).toContain("frame-ancestors 'none'")
      expect(headers.get('x-powered-by')).toBeNull()
    },
  )
})

test('lives', async () => {
  const response = await app.request('/health/live')
  expect([response.status, await response.json()]).toEqual([200, { status: 'OK' }])
})

test('is ready when the database answers', async () => {
  const response = await app.request('/health/ready')
  expect([response.status, await response.json()]).toEqual([
    200,
    { status: 'OK', checks: [{ name: 'database', status: 'OK' }] },
  ])
})

test('publishes its public keys and no private part of them', async () => {
  const response = await app.request('/.well-known/jwks.json')
  const { keys } = JSON.parse(await response.text())
  expect(response.headers.get('cache-control')).toBe('public, max-age=60')
  expect(keys.length).toBeGreaterThan(0)
  for (const key of keys) {
    expect(key).toMatchObject({ kty: 'OKP', crv: 'Ed25519', x: expect.any(String), kid: expect.any(String) })
    expect(key).not.toHaveProperty('d')
  }
})

test('leads from / to GraphiQL', async () => {
  const response = await app.request('/')
  expect([response.status, response.headers.get('location')]).toEqual([302, '/graphql'])
})

test.each(['/nothing', '/graphql/', '/graphql/x', '//graphql', '/Graphql', '/health', '/%67raphql'])(
  'has nothing at %s',
  async (path) => {
    const { status, body } = await sendRaw(app.url, [`GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`])
    expect(status).toBe(404)
    expect(JSON.parse(body)).toMatchObject({
      errors: [{ message: 'There is no such path.', extensions: { code: 'NOT_FOUND' } }],
    })
  },
)

test('refuses other methods, saying which it takes', async () => {
  const response = await app.request('/health/live', { method: 'POST' })
  expect([response.status, response.headers.get('allow')]).toEqual([405, 'GET, HEAD'])
  expect(await response.json()).toMatchObject({ errors: [{ extensions: { code: 'METHOD_NOT_ALLOWED' } }] })
})

test('answers HEAD without a body', async () => {
  const { status, head, body } = await sendRaw(app.url, [
    'HEAD /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
  ])
  expect([status, body]).toEqual([200, ''])
  expect(head.toLowerCase()).toContain('content-length: 15')
})

test.each(['a b', '[', 'x:99999', '%', ''])('answers whatever host it is called: %s', async (host) => {
  const body = '{"query": "{ testOpen }"}'
  const { status, body: answer } = await sendRaw(app.url, [
    `POST /graphql HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  ])
  expect([status, JSON.parse(answer)]).toMatchObject([200, { data: { testOpen: 'open' } }])
})

test('tells an operation that its caller has gone', async () => {
  const gone = new AbortController()
  const started = probe.next('started')
  const ended = probe.next('ended')
  const request = app.request('/graphql', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query: 'mutation { testSlow }' }),
    signal: gone.signal,
  })
  await started
  gone.abort()
  await expect(request).rejects.toThrow('aborted')
  expect(await ended).toEqual(['aborted'])
})

describe('when it closes', () => {
  test('lets running requests end, sends subscribers away, and takes no new ones', async () => {
    const closing = await startTestApp()
    const started = probe.next('started')
    const request = closing.request('/graphql', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ query: 'mutation { testUntilReleased }' }),
    })
    await started
    const stream = closing.subscribe('subscription { testSilence }', {}, { over: 'event-stream' })
    await stream.next()
    const socket = closing.subscribe('subscription { testSilence }')
    await socket.next()

    const closed = closing[Symbol.asyncDispose]()
    await expect(stream.next()).rejects.toThrow('terminated')
    await expect(socket.next()).rejects.toMatchObject({ code: 1001 })
    probe.emit('released')
    expect(await (await request).json()).toMatchObject({ data: { testUntilReleased: 'released' } })
    await closed
    await expect(closing.request('/health/live')).rejects.toThrow('fetch failed')
  })
})
