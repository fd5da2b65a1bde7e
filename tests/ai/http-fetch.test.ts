import { once } from 'node:events'
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import type { Socket } from 'node:net'
import { expect, test } from 'vitest'
import { createHttpFetch, idleConnectionMs } from '../../src/ai/http-fetch.ts'
import { until } from '../support/until.ts'

/** A server that answers as it is told, and counts its connections. */
async function start(answer: RequestListener, tls: { key: string; cert: string } | null = null) {
  const sockets = new Set<Socket>()
  let connections = 0
  // It never closes an unused connection by itself, and says nothing of when it would.
  const options = { keepAliveTimeout: 0 }
  const server = tls === null ? createServer(options, answer) : createSecureServer({ ...options, ...tls }, answer)
  server.on('connection', (socket) => {
    connections += 1
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.once('close', () => sockets.delete(socket))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the server has no port')
  const sent: string[] = []
  const http = createHttpFetch({ onSent: (headers) => sent.push(headers.get('x-name') ?? '') })
  return {
    url: `${tls === null ? 'http' : 'https'}://127.0.0.1:${address.port}/chat`,
    fetch: http.fetch,
    sent,
    open: () => sockets.size,
    connections: () => connections,
    async [Symbol.asyncDispose]() {
      http.close()
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
}

const post = (body: string, rest: RequestInit = {}): RequestInit => ({ method: 'POST', body, ...rest })

test('sends a text, gives the answer as it comes, and keeps the connection', async () => {
  const seen: { method?: string; text: string; headers: IncomingMessage['headers'] }[] = []
  await using server = await start((request, response) => {
    const { method = '', headers } = request
    let text = ''
    request.setEncoding('utf8').on('data', (part: string) => (text += part))
    request.on('end', () => {
      seen.push({ method, text, headers })
      response.writeHead(200, { 'content-type': 'text/plain', 'x-request-id': 'r-1' }).write('Grü')
      response.end('ße')
    })
  })

  for (const name of ['first', 'second']) {
    const response = await server.fetch(server.url, post('{"größe":1}', { headers: { 'x-name': name } }))
    expect([response.status, response.ok, response.headers.get('x-request-id')]).toEqual([200, true, 'r-1'])
    expect(await response.text()).toBe('Grüße')
  }

  expect(server.connections()).toBe(1)
  expect(server.sent).toEqual(['first', 'second'])
  expect(seen[1]).toMatchObject({ method: 'POST', text: '{"größe":1}', headers: { 'content-length': '13' } })
  expect(seen[1]?.headers).not.toHaveProperty('accept-encoding')
})

test('gives what a status says that is no success, with or without a body', async () => {
  await using server = await start((request, response) => {
    request.resume()
    if (request.url === '/chat?empty') response.writeHead(204).end()
    else response.writeHead(429, { 'retry-after': '7' }).end('{"error":{}}')
  })

  const refused = await server.fetch(server.url, post('x'))
  expect([refused.status, refused.headers.get('retry-after')]).toEqual([429, '7'])
  expect(await refused.json()).toEqual({ error: {} })
  const empty = await server.fetch(`${server.url}?empty`, post('x'))
  expect([empty.status, empty.body]).toEqual([204, null])
})

test('follows no redirect', async () => {
  await using elsewhere = await start((_request, response) => void response.end('keys welcome'))
  await using server = await start((_request, response) => {
    response.writeHead(307, { location: elsewhere.url }).end()
  })

  await expect(server.fetch(server.url, post('x'))).rejects.toThrow(`redirects to ${elsewhere.url}`)
  expect(elsewhere.connections()).toBe(0)
})

test('closes the connection of an answer that is none', async () => {
  await using server = await start((_request, response) => void response.writeHead(700).end('a'))

  await expect(server.fetch(server.url, post('x'))).rejects.toThrow(RangeError)

  await until(
    'it is closed',
    async () => server.open(),
    (count) => count === 0,
  )
})

test('an abort closes the connection, before the answer and in its middle', async () => {
  await using server = await start((request, response) => {
    if (request.url === '/chat?begins') response.write('a')
  })

  const early = new AbortController()
  const unanswered = server.fetch(server.url, post('x', { signal: early.signal }))
  const refused = expect(unanswered).rejects.toThrow('aborted')
  await until(
    'the request is there',
    async () => server.open(),
    (count) => count === 1,
  )
  early.abort()
  await refused
  await until(
    'it is closed',
    async () => server.open(),
    (count) => count === 0,
  )

  const late = new AbortController()
  const begun = await server.fetch(`${server.url}?begins`, post('x', { signal: late.signal }))
  const text = expect(begun.text()).rejects.toThrow('closed')
  late.abort()
  await text
  await until(
    'it is closed, too',
    async () => server.open(),
    (count) => count === 0,
  )

  await expect(server.fetch(server.url, post('x', { signal: AbortSignal.abort(new Error('gone')) }))).rejects.toThrow(
    'gone',
  )
  expect(server.connections()).toBe(2)
})

test('leaving a body early closes its connection', async () => {
  await using server = await start((_request, response) => void response.write('a'))

  const response = await server.fetch(server.url, post('x'))
  await response.body?.cancel()

  await until(
    'it is closed',
    async () => server.open(),
    (count) => count === 0,
  )
})

test.each([
  {
    when: 'before the answer',
    answer: (response: ServerResponse) => response.socket?.destroy(),
    message: 'socket hang up',
  },
  {
    when: 'in its middle',
    answer: (response: ServerResponse) => response.write('a', () => response.socket?.destroy()),
    message: 'the connection was closed',
  },
])('says that a connection was lost $when', async ({ answer, message }) => {
  await using server = await start((_request, response) => void answer(response))

  const read = async (): Promise<string> => (await server.fetch(server.url, post('x'))).text()

  await expect(read()).rejects.toThrow(message)
})

test('reads no faster than its reader', async () => {
  const piece = 'x'.repeat(64 * 1024)
  const total = 64 * 1024 * 1024
  let written = 0
  await using server = await start((_request, response) => {
    const write = (): void => {
      while (written < total) {
        written += piece.length
        if (!response.write(piece)) return void response.once('drain', write)
      }
      response.end()
    }
    write()
  })

  const response = await server.fetch(server.url, post('x'))
  let before = -1
  await until(
    'the server can write no more',
    async () => {
      const isStill = written === before
      before = written
      return isStill
    },
    (isStill) => isStill,
  )
  expect(written).toBeLessThan(total)

  expect((await response.text()).length).toBe(total)
}, 60_000)

test('closes a connection that nobody has used for a while', async () => {
  await using server = await start((_request, response) => void response.end('a'))

  await (await server.fetch(server.url, post('x'))).text()
  expect(server.open()).toBe(1)

  await until(
    'it is closed',
    async () => server.open(),
    (count) => count === 0,
    idleConnectionMs + 20_000,
  )
}, 40_000)

test('an answer may be silent for longer than an unused connection is kept', async () => {
  await using server = await start((_request, response) => {
    response.write('a')
    setTimeout(() => response.end('b'), idleConnectionMs + 1_000)
  })

  expect(await (await server.fetch(server.url, post('x'))).text()).toBe('ab')
}, 40_000)

test('tells that it is sent only over a connection that stands', async () => {
  await using server = await start((_request, response) => void response.end('a'))
  const gone = server.url.replace(/:\d+/, ':9')

  await expect(server.fetch(gone, post('x', { headers: { 'x-name': 'refused' } }))).rejects.toThrow('ECONNREFUSED')

  expect(server.sent).toEqual([])
})

test('over TLS, asks only who has proved to be who is asked', async () => {
  await using server = await start((_request, response) => void response.end('a'), selfSigned)

  await expect(server.fetch(server.url, post('x'))).rejects.toThrow('self-signed certificate')
  expect(server.sent).toEqual([])

  // Node reads it with each connection.
  process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0'
  try {
    const response = await server.fetch(server.url, post('x', { headers: { 'x-name': 'trusting' } }))
    expect(await response.text()).toBe('a')
  } finally {
    delete process.env['NODE_TLS_REJECT_UNAUTHORIZED']
  }
  expect(server.sent).toEqual(['trusting'])
})

/** For this test alone: a key that everybody knows protects nothing. */
const selfSigned = {
  key: `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgZohWfXLGdshWX9o2
Pr1UKaZEpzxpKQj1SKFRBe+fAwehRANCAATYYAXpi1QreJVhHAAj7/qjD042yGWP
1Ogu2UWJy4x8yek0FbarA1IbGK6OCZE7vMRmM+oQi7GmiTOe46y7Pmeu
-----END PRIVATE KEY-----`,
  cert: `-----BEGIN CERTIFICATE-----
MIIBnDCCAUGgAwIBAgIUb9FJCKuZ/lX+f0YyNZZ2tCIbahgwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMzE0MjIwN1oYDzIxMjYxMDMw
MTQyMjA3WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAATYYAXpi1QreJVhHAAj7/qjD042yGWP1Ogu2UWJy4x8yek0FbarA1Ib
GK6OCZE7vMRmM+oQi7GmiTOe46y7Pmeuo28wbTAdBgNVHQ4EFgQUrdDuvxtAdG2N
212LVWX8l2X2nqkwHwYDVR0jBBgwFoAUrdDuvxtAdG2N212LVWX8l2X2nqkwDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSQAwRgIhAL+SAW2K7OA6aCh6P8QChhwvS2cG5iRJ8TtAkEEi0YJ0AiEA
xE8xY3LI8Dyjvcdm2W18LmlxgaKsh09LXjy+y3K++hs=
-----END CERTIFICATE-----`,
}
