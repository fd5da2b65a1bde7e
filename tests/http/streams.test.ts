import { once } from 'node:events'
import { afterAll, describe, expect, test, vi } from 'vitest'
import { createLoaders } from '../../src/graphql/create-loaders.ts'
import { createSchema } from '../../src/graphql/schema.ts'
import { createHttpServer } from '../../src/http/server.ts'
import type { WebSocketsOptions } from '../../src/http/websocket.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { newId } from '../../src/lib/ids.ts'
import { readEvents } from '../support/graphql-client.ts'
import { probe } from '../support/graphql-test-fields.ts'
import { openConnection } from '../support/raw-http.ts'
import { connectSocket } from '../support/raw-socket.ts'
import { openAdmission, testHttpOptions } from '../support/http-options.ts'
import { startTestApp } from '../support/test-app.ts'

const app = await startTestApp()
afterAll(() => app[Symbol.asyncDispose]())

const silence = 'subscription { testSilence }'
const flood = 'subscription { testFlood(bytes: 100000) }'

const eventStream = (query: string, init: RequestInit = {}): Promise<Response> =>
  app.request('/graphql', {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'text/event-stream' },
    body: JSON.stringify({ query }),
    ...init,
  })

const requestText = (query: string): string => {
  const body = JSON.stringify({ query })
  return [
    'POST /graphql HTTP/1.1',
    'Host: localhost',
    'Content-Type: application/json',
    'Accept: text/event-stream',
    `Content-Length: ${body.length}`,
    '',
    body,
  ].join('\r\n')
}

describe('Server-Sent Events', () => {
  test('are an event for each result, and one for the end', async () => {
    const response = await eventStream('subscription { testTicks(count: 2) }')
    expect(response.headers.get('content-type')).toBe('text/event-stream')
    expect(response.headers.get('cache-control')).toContain('no-')
    const events = []
    if (response.body !== null) for await (const event of readEvents(response.body)) events.push(event)
    expect(events).toEqual([
      { name: 'next', data: '{"data":{"testTicks":1}}' },
      { name: 'next', data: '{"data":{"testTicks":2}}' },
      { name: 'complete', data: '' },
    ])
  })

  test('are what a subscription answers to a client that accepts anything', async () => {
    const response = await eventStream('subscription { testTicks(count: 1) }', {
      headers: { 'content-type': 'application/json', accept: '*/*, multipart/mixed' },
    })
    expect(response.headers.get('content-type')).toBe('text/event-stream')
    await response.text()
  })

  test('keep a quiet connection alive', async () => {
    const stop = new AbortController()
    const response = await eventStream(silence, { signal: stop.signal })
    const decoder = new TextDecoder()
    let text = ''
    if (response.body !== null) {
      for await (const chunk of response.body) {
        text += decoder.decode(chunk)
        if (/data: .*\n\n:\n\n/s.test(text)) break
      }
    }
    stop.abort()
    expect(text).toMatch(/data: .*\n\n:\n\n/s)
  })

  test('end their source at once when the client leaves', async () => {
    const stop = new AbortController()
    const started = probe.next('started')
    const response = await eventStream(silence, { signal: stop.signal })
    const reading = response.text().catch(() => 'left')
    await started
    const ended = probe.next('ended', 1_000)
    stop.abort()
    expect(await ended).toEqual(['silence'])
    expect(await reading).toBe('left')
  })

  test('are read from their source only as fast as the client reads', async () => {
    const socket = await openConnection(app.url)
    socket.pause()
    socket.write(requestText(flood))
    const stalled = await pullsWhenStalled()
    // What the sockets of both sides hold: some megabytes, not an endless source.
    expect(stalled * 100_000).toBeLessThan(16 * 1024 * 1024)
    const more = once(probe, 'pulled', { signal: AbortSignal.timeout(5_000) })
    socket.resume()
    await more
    const ended = probe.next('ended')
    socket.destroy()
    expect(await ended).toEqual(['flood'])
  })

  test('end their source when a client leaves that did not read', async () => {
    const socket = await openConnection(app.url)
    socket.pause()
    socket.write(requestText(flood))
    await pullsWhenStalled()
    const ended = probe.next('ended')
    socket.destroy()
    expect(await ended).toEqual(['flood'])
  })
})

test('an event stream breaks off when its token expires', async () => {
  let clockOffsetMs = 0
  const clock = { ...systemClock, now: () => new Date(Date.now() + clockOffsetMs) }
  await using other = await startTestApp({ overrides: { clock } })
  const { token } = await other.signUp()
  clockOffsetMs = 10 * 60_000 - 500
  const stream = other.subscribe(silence, {}, { token, over: 'event-stream' })
  expect(await stream.next()).toMatchObject({ value: { data: { testSilence: 0 } } })
  const ended = probe.next('ended')
  await expect(stream.next()).rejects.toThrow('terminated')
  expect(await ended).toEqual(['silence'])
})

describe('WebSockets', () => {
  test('end their source at once when the client completes the operation', async () => {
    await using socket = await connectSocket(app.url)
    const started = probe.next('started')
    socket.send({ type: 'subscribe', id: '1', payload: { query: silence } })
    await started
    const ended = probe.next('ended', 1_000)
    socket.send({ type: 'complete', id: '1' })
    expect(await ended).toEqual(['silence'])
    // Nothing more comes for it, and its id is free.
    expect(await socket.receive()).toMatchObject({ type: 'next', id: '1' })
    socket.send({ type: 'subscribe', id: '1', payload: { query: '{ testOpen }' } })
    expect(await socket.receive()).toMatchObject({ type: 'next', payload: { data: { testOpen: 'open' } } })
  })

  test('end all their sources at once when the client leaves', async () => {
    await using socket = await connectSocket(app.url)
    const started = [probe.next('started')]
    socket.send({ type: 'subscribe', id: '1', payload: { query: silence } })
    await Promise.all(started)
    const ended = probe.next('ended', 1_000)
    socket.socket.terminate()
    expect(await ended).toEqual(['silence'])
  })

  test('are read from their source only as fast as the client reads, and others go on', async () => {
    await using slow = await connectSocket(app.url)
    slow.socket.pause()
    slow.send({ type: 'subscribe', id: '1', payload: { query: flood } })
    const stalled = await pullsWhenStalled()
    expect(stalled * 100_000).toBeLessThan(16 * 1024 * 1024)
    await using other = await connectSocket(app.url)
    other.send({ type: 'subscribe', id: '1', payload: { query: '{ testOpen }' } })
    expect(await other.receive()).toMatchObject({ payload: { data: { testOpen: 'open' } } })
    const more = once(probe, 'pulled', { signal: AbortSignal.timeout(5_000) })
    slow.socket.resume()
    await more
    const ended = probe.next('ended')
    slow.send({ type: 'complete', id: '1' })
    expect(await ended).toEqual(['flood'])
  })

  test('close with 1013 when a client has not read for a while', async () => {
    await using server = await startServer({ maxStallMs: 300 })
    await using socket = await connectSocket(server.url)
    socket.socket.pause()
    const ended = probe.next('ended')
    socket.send({ type: 'subscribe', id: '1', payload: { query: flood } })
    expect(await ended).toEqual(['flood'])
    socket.socket.resume()
    expect(await socket.closed).toEqual({ code: 1013, reason: 'Reading too slowly' })
  })

  test('end their sources at once when they are closed, also when the client does not read that', async () => {
    await using server = await startServer({ maxMessagesPerSecond: 5 })
    await using socket = await connectSocket(server.url)
    const started = probe.next('started')
    socket.send({ type: 'subscribe', id: '1', payload: { query: silence } })
    await started
    // Well before ws gives up on an answer to its close, which takes 30 s.
    const ended = probe.next('ended', 15_000)
    socket.socket.pause()
    for (let n = 0; n < 10; n += 1) socket.send({ type: 'ping' })
    expect(await ended).toEqual(['silence'])
    socket.socket.resume()
    expect(await socket.closed).toEqual({ code: 4429, reason: 'Too many messages' })
  })

  test('close with 1013 when too much waits for a client', async () => {
    await using server = await startServer({ maxBufferedBytes: 100_000, maxMessagesPerSecond: 1_000 })
    await using socket = await connectSocket(server.url)
    socket.socket.pause()
    const ended = probe.next('ended')
    for (let id = 0; id < 20; id += 1) socket.send({ type: 'subscribe', id: String(id), payload: { query: flood } })
    await ended
    socket.socket.resume()
    expect(await socket.closed).toEqual({ code: 1013, reason: 'Reading too slowly' })
  })

  test('are dropped when their client does not answer a ping', async () => {
    await using server = await startServer({ pingIntervalMs: 100 })
    await using socket = await connectSocket(server.url)
    const started = probe.next('started')
    socket.send({ type: 'subscribe', id: '1', payload: { query: silence } })
    await started
    const ended = probe.next('ended')
    socket.socket.pause()
    expect(await ended).toEqual(['silence'])
  })
})

/** A second server for the same services, with other limits. */
async function startServer(webSockets: Partial<WebSocketsOptions>): Promise<{ url: string } & AsyncDisposable> {
  const server = createHttpServer(
    { schema: createSchema(), services: app.services, createLoaders, admission: openAdmission, newId },
    testHttpOptions({ webSockets }),
  )
  const { url } = await server.listen({ host: '127.0.0.1', port: 0 })
  return { url, [Symbol.asyncDispose]: () => server.close(0) }
}

/** How often the source was asked when nothing moves any more. */
async function pullsWhenStalled(): Promise<number> {
  let last = -1
  await vi.waitFor(
    () => {
      const stalled = probe.pulls > 0 && probe.pulls === last
      last = probe.pulls
      expect(stalled, 'the source is still asked').toBe(true)
    },
    { timeout: 10_000, interval: 300 },
  )
  return last
}
