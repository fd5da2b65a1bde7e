import { afterAll, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { systemClock } from '../../src/lib/clock.ts'
import { probe } from '../support/graphql-test-fields.ts'
import { sendRaw } from '../support/raw-http.ts'
import { connectSocket, openSocket } from '../support/raw-socket.ts'
import { startTestApp } from '../support/test-app.ts'

const app = await startTestApp()
afterAll(() => app[Symbol.asyncDispose]())

const subscribe = (id: string, query: string, variables?: unknown) =>
  ({ type: 'subscribe', id, payload: { query, ...(variables === undefined ? {} : { variables }) } }) as const

describe('opening', () => {
  test('closes with 4408 when connection_init does not come within 3 s', async () => {
    await using socket = await openSocket(app.url)
    const since = performance.now()
    expect(await socket.closed).toEqual({ code: 4408, reason: 'Connection initialisation timeout' })
    expect(performance.now() - since).toBeGreaterThan(2_900)
  })

  test('closes with 4406 without the sub-protocol', async () => {
    await using socket = await openSocket(app.url, [])
    expect(await socket.closed).toEqual({ code: 4406, reason: 'Subprotocol not acceptable' })
  })

  test('takes the sub-protocol out of several', async () => {
    await using socket = await openSocket(app.url, ['graphql-ws', 'graphql-transport-ws'])
    expect(socket.socket.protocol).toBe('graphql-transport-ws')
  })

  test('closes with 4429 on a second connection_init', async () => {
    await using socket = await connectSocket(app.url)
    socket.send({ type: 'connection_init' })
    expect(await socket.closed).toMatchObject({ code: 4429 })
  })

  test('closes with 4401 on an operation before the acknowledgement', async () => {
    await using socket = await openSocket(app.url)
    socket.send(subscribe('1', '{ testOpen }'))
    expect(await socket.closed).toMatchObject({ code: 4401 })
  })

  test('is only at /graphql', async () => {
    const socket = new WebSocket(`${app.url.replace('http', 'ws')}/nothing`, 'graphql-transport-ws')
    const error = await new Promise<Error>((resolve) => socket.once('error', resolve))
    expect(error.message).toBe('Unexpected server response: 404')
  })

  test('refuses an upgrade that is none', async () => {
    const { status } = await sendRaw(app.url, [
      'GET /graphql HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
    ])
    expect(status).toBe(400)
  })
})

describe('credentials', () => {
  test.each([
    ['authorization, as the header would be', (token: string) => ({ authorization: `Bearer ${token}` })],
    ['accessToken', (token: string) => ({ accessToken: token })],
  ])('may come as %s', async (_name, paramsOf) => {
    const user = await app.signUp()
    await using socket = await connectSocket(app.url, paramsOf(user.token))
    socket.send(subscribe('1', '{ viewer { user { id } } }'))
    expect(await socket.receive()).toMatchObject({
      type: 'next',
      id: '1',
      payload: { data: { viewer: { user: { id: user.id } } } },
    })
    expect(await socket.receive()).toEqual({ type: 'complete', id: '1' })
  })

  test('are not needed for what anybody may ask', async () => {
    await using socket = await connectSocket(app.url)
    socket.send(subscribe('1', '{ testOpen viewer { user { id } } }'))
    expect(await socket.receive()).toMatchObject({ payload: { data: { testOpen: 'open', viewer: null } } })
  })

  test.each([
    ['a forged token', { authorization: 'Bearer a.b.c' }],
    ['another kind of credentials', { authorization: 'Basic YTpi' }],
    ['an empty token', { accessToken: '' }],
    ['a token that is no text', { accessToken: 7 }],
  ])('that are wrong close with 4403: %s', async (_name, payload) => {
    await using socket = await openSocket(app.url)
    socket.send({ type: 'connection_init', payload })
    expect(await socket.closed).toEqual({ code: 4403, reason: 'Forbidden' })
  })

  test('that expire close with 4403, and end the subscriptions', async () => {
    // Tokens are valid for ten minutes by the server's clock, which has four seconds of them left when the socket opens.
    const clock = { ...systemClock, now: () => new Date(Date.now() + clockOffsetMs) }
    let clockOffsetMs = 0
    await using other = await startTestApp({ overrides: { clock } })
    const { token } = await other.signUp()
    clockOffsetMs = 10 * 60_000 - 4_000
    await using socket = await connectSocket(other.url, { accessToken: token })
    const ended = probe.next('ended')
    socket.send(subscribe('1', 'subscription { testSilence }'))
    expect(await socket.receive()).toMatchObject({ type: 'next' })
    expect(await socket.closed).toEqual({ code: 4403, reason: 'Token expired' })
    expect(await ended).toEqual(['silence'])
  })
})

describe('operations', () => {
  test('run beside each other, each with its own request id', async () => {
    await using socket = await connectSocket(app.url)
    socket.send(subscribe('a', '{ testClosed }'))
    socket.send(subscribe('b', '{ testClosed }'))
    const received = [await socket.receive(), await socket.receive(), await socket.receive(), await socket.receive()]
    const ids = received.flatMap(({ payload }) => JSON.stringify(payload)?.match(/"requestId":"([^"]+)"/)?.[1] ?? [])
    expect(received.map(({ type, id }) => `${type} ${id}`).toSorted()).toEqual([
      'complete a',
      'complete b',
      'next a',
      'next b',
    ])
    expect(new Set(ids).size).toBe(2)
  })

  test('get variables and a name', async () => {
    await using socket = await connectSocket(app.url)
    const query = 'query A($count: Int!) { testEcho(count: $count) } query B { testOpen }'
    socket.send({ type: 'subscribe', id: '1', payload: { query, operationName: 'A', variables: { count: 3 } } })
    expect(await socket.receive()).toMatchObject({ payload: { data: { testEcho: { count: 3 } } } })
  })

  test('that are mutations are refused, and change nothing', async () => {
    const before = probe.count
    await using socket = await connectSocket(app.url)
    socket.send(subscribe('1', 'mutation { testCount }'))
    expect(await socket.receive()).toMatchObject({
      type: 'error',
      id: '1',
      payload: [
        { message: 'Mutations are not accepted over a WebSocket.', extensions: { code: 'METHOD_NOT_ALLOWED' } },
      ],
    })
    expect(probe.count).toBe(before)
  })

  test('that are refused leave the socket alive, and their id free', async () => {
    await using socket = await connectSocket(app.url)
    for (const query of ['{', '{ nothing }', '{ testEcho(count: "a") }']) {
      socket.send(subscribe('1', query))
      expect(await socket.receive()).toMatchObject({ type: 'error', id: '1' })
    }
    socket.send(subscribe('1', '{ testOpen }'))
    expect(await socket.receive()).toMatchObject({ type: 'next', payload: { data: { testOpen: 'open' } } })
  })

  test('with an id that is in use close with 4409', async () => {
    await using socket = await connectSocket(app.url)
    socket.send(subscribe('1', 'subscription { testSilence }'))
    socket.send(subscribe('1', 'subscription { testSilence }'))
    expect(await socket.closed).toEqual({ code: 4409, reason: 'Subscriber for 1 already exists' })
  })

  test.each([
    ['text', 'hello'],
    ['half a message', '{"type":'],
    ['an unknown type', '{"type":"start"}'],
    ['no id', '{"type":"subscribe","payload":{"query":"{ testOpen }"}}'],
    ['no document', '{"type":"subscribe","id":"1","payload":{}}'],
    ['a document of numbers', '{"type":"subscribe","id":"1","payload":{"query":7}}'],
    ['variables as text', '{"type":"subscribe","id":"1","payload":{"query":"{ testOpen }","variables":"{}"}}'],
    ['a batch', '[{"type":"ping"}]'],
    ['null', 'null'],
  ])('close with 4400 when a frame is no message: %s', async (_name, frame) => {
    await using socket = await connectSocket(app.url)
    socket.send(frame)
    expect(await socket.closed).toMatchObject({ code: 4400 })
  })

  test('close with 1009 when a frame is larger than a megabyte', async () => {
    await using socket = await connectSocket(app.url)
    socket.send({ type: 'ping', payload: { pad: 'x'.repeat(1024 * 1024) } })
    expect(await socket.closed).toMatchObject({ code: 1009 })
  })

  test('an id may be any text, also a name of JavaScript', async () => {
    await using socket = await connectSocket(app.url)
    for (const id of ['__proto__', 'constructor', 'toString']) {
      socket.send(subscribe(id, '{ testOpen }'))
      expect(await socket.receive()).toMatchObject({ type: 'next', id })
      expect(await socket.receive()).toEqual({ type: 'complete', id })
    }
  })
})

test('answers a ping', async () => {
  await using socket = await connectSocket(app.url)
  socket.send({ type: 'ping', payload: { at: 1 } })
  expect(await socket.receive()).toEqual({ type: 'pong', payload: { at: 1 } })
})

test('does not compress', async () => {
  await using socket = await connectSocket(app.url)
  expect(socket.socket.extensions).toBe('')
})
