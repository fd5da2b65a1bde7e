import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { connectSocket, openSocket, type RawSocket } from '../support/raw-socket.ts'
import { startTestApp, type TestApp, type TestUser } from '../support/test-app.ts'

// WebSockets with raw frames: more of everything than a server should take.

let app: TestApp
let user: TestUser
beforeAll(async () => {
  app = await startTestApp({
    env: {
      LIMIT_SOCKETS_PER_USER: '3',
      LIMIT_SUBSCRIPTIONS_PER_SOCKET: '4',
      LIMIT_SOCKET_MESSAGES_PER_SECOND: '20',
      LIMIT_SOCKET_FRAME_BYTES: '4096',
    },
  })
  user = await app.signUp()
})
afterAll(() => app[Symbol.asyncDispose]())

const open = (): Promise<RawSocket> => connectSocket(app.url, { accessToken: user.token })
const subscribe = (id: string, query: string) => ({ type: 'subscribe', id, payload: { query } })
const feed = 'subscription { workspaceFeed { __typename } }'

describe('a WebSocket', () => {
  test('that sends more than twenty messages at once is closed with 4429', async () => {
    await using socket = await open()
    for (let n = 0; n < 200; n += 1) socket.send({ type: 'ping' })
    expect(await socket.closed).toEqual({ code: 4429, reason: 'Too many messages' })
  })

  test('that sends a frame which is too large is closed with 1009', async () => {
    await using socket = await open()
    socket.send({ type: 'ping', payload: { pad: 'x'.repeat(5_000) } })
    expect(await socket.closed).toMatchObject({ code: 1009 })
  })

  test('has so many subscriptions and no more; the others go on', async () => {
    await using socket = await open()
    for (const id of ['1', '2', '3', '4']) {
      socket.send(subscribe(id, feed))
      expect(await socket.receive()).toMatchObject({ type: 'next', id })
    }
    socket.send(subscribe('5', feed))
    expect(await socket.receive()).toMatchObject({
      type: 'error',
      id: '5',
      payload: [{ extensions: { code: 'RATE_LIMITED', details: { limit: 'subscriptions', maximum: 4 } } }],
    })
    socket.send({ type: 'complete', id: '1' })
    socket.send({ type: 'ping' })
    expect(await socket.receive()).toEqual({ type: 'pong' })
  })

  test('is one of so many of a user; one that closes makes room', async () => {
    await using first = await open()
    await using second = await open()
    await using third = await open()
    await using refused = await openSocket(app.url)
    refused.send({ type: 'connection_init', payload: { accessToken: user.token } })
    expect(await refused.closed).toMatchObject({ code: 1013 })
    first.socket.close()
    await first.closed
    await using again = await open()
    for (const socket of [second, third, again]) {
      socket.send({ type: 'ping' })
      expect(await socket.receive()).toEqual({ type: 'pong' })
    }
  })

  test.each([
    ['too deep', `{ ${'workspace { agents { edges { node { '.repeat(3)} id ${'} } } }'.repeat(3)} }`],
    ['too costly', '{ agents(first: 100) { edges { node { tasks(first: 100) { edges { node { id } } } } } } }'],
    ['a mutation', 'mutation { createWorkspace(input: { name: "Forged" }) { workspace { id } } }'],
    ['nothing that can be read', '{'],
  ])('that asks for what is %s gets an error, and lives', async (_what, query) => {
    await using socket = await open()
    socket.send(subscribe('1', query))
    expect(await socket.receive()).toMatchObject({ type: 'error', id: '1' })
    socket.send(subscribe('1', '{ viewer { user { id } } }'))
    expect(await socket.receive()).toMatchObject({
      type: 'next',
      payload: { data: { viewer: { user: { id: user.id } } }, extensions: { cost: { requested: 3 } } },
    })
  })
})
