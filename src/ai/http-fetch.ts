import { Agent as PlainAgent, request as plainRequest, type ClientRequest, type IncomingMessage } from 'node:http'
import { Agent as SecureAgent, request as secureRequest } from 'node:https'
import type { Fetch } from './provider.ts'

/** A `fetch` and the connections that it keeps. */
export interface HttpFetch {
  readonly fetch: Fetch
  /** Closes all connections, also those in use. */
  close(): void
}

export type HttpFetchOptions = {
  /** Told when a request is written to a connection that stands (TCP, and TLS where there is some). */
  onSent: (headers: Headers) => void
}

/** An unused connection is closed then, or before when the server says so: one that was dropped on the way says nothing. */
export const idleConnectionMs = 4_000
/** How many pieces of a body may wait for their reader; then the connection is read no more until there is room. */
const maxWaitingPieces = 16
/** Answers that have no body (WHATWG Fetch, "null body status"). */
const statusesWithoutBody: ReadonlySet<number> = new Set([204, 205, 304])

/**
 * `fetch`, as far as asking a model needs it, over `node:http`: the body of a request is a text, that of an answer is read as it comes, connections are kept, the
 * signal ends both. Nothing is compressed, and no redirect is followed, so that no key goes where nobody has sent it.
 *
 * Node's own costs the processor twice as much a call, and leaves 23 KB of each to the next major garbage collection, where this leaves 0.3.
 */
export function createHttpFetch({ onSent }: HttpFetchOptions): HttpFetch {
  const keeping = { keepAlive: true, timeout: idleConnectionMs }
  const agents = { plain: new PlainAgent(keeping), secure: new SecureAgent(keeping) }

  async function fetch(input: string | URL | Request, init: RequestInit = {}): Promise<Response> {
    const { body = null, method = 'GET', signal = null } = init
    if (input instanceof Request || (body !== null && typeof body !== 'string'))
      throw new TypeError('a model is asked with an address and a text')
    signal?.throwIfAborted()
    const url = new URL(input)
    const headers = new Headers(init.headers)
    const options = { method, headers: Object.fromEntries(headers) }
    const isSecure = url.protocol === 'https:'
    const request = isSecure
      ? secureRequest(url, { ...options, agent: agents.secure })
      : plainRequest(url, { ...options, agent: agents.plain })
    request.once('socket', (socket) => {
      if (socket.connecting) socket.once(isSecure ? 'secureConnect' : 'connect', () => onSent(headers))
      else onSent(headers)
    })
    if (signal !== null) abortOn(signal, request)
    request.end(body)
    const incoming = await answerTo(request)
    try {
      return responseOf(incoming)
    } catch (error) {
      request.destroy()
      throw error
    }
  }

  return {
    fetch,
    close() {
      agents.plain.destroy()
      agents.secure.destroy()
    },
  }
}

function abortOn(signal: AbortSignal, request: ClientRequest): void {
  const abort = (): void => void request.destroy(new Error('the call was aborted', { cause: signal.reason }))
  signal.addEventListener('abort', abort, { once: true })
  request.once('close', () => signal.removeEventListener('abort', abort))
}

function answerTo(request: ClientRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    request.once('response', resolve)
    // What comes after the answer has begun is told by the answer, too.
    request.on('error', reject)
    request.once('close', () => reject(new Error('the connection was closed without an answer')))
  })
}

/** Throws for a redirect, and for a status or a header that HTTP does not know. */
function responseOf(incoming: IncomingMessage): Response {
  const status = incoming.statusCode ?? 0
  const { location } = incoming.headers
  if (status >= 300 && status < 400 && location !== undefined)
    throw new Error(`the server redirects to ${location}, which is not followed: write the address that answers`)
  const headers = new Headers()
  const { rawHeaders: raw } = incoming
  for (let at = 0; at + 1 < raw.length; at += 2) headers.append(raw[at] ?? '', raw[at + 1] ?? '')
  if (!statusesWithoutBody.has(status)) return new Response(bodyOf(incoming), { status, headers })
  incoming.resume()
  return new Response(null, { status, headers })
}

function bodyOf(incoming: IncomingMessage): ReadableStream<Uint8Array> {
  let isOver = false
  return new ReadableStream<Uint8Array>(
    {
      start(controller) {
        const end = (how: () => void): void => {
          if (!isOver) how()
          isOver = true
        }
        incoming.on('data', (piece: Buffer) => {
          if (isOver) return
          controller.enqueue(piece)
          if ((controller.desiredSize ?? 0) <= 0) incoming.pause()
        })
        incoming.once('end', () => end(() => controller.close()))
        const closed = (): Error => new Error('the connection was closed')
        // Node says no more than "aborted" when the other side has closed it.
        incoming.on('error', (error) => end(() => controller.error(error.message === 'aborted' ? closed() : error)))
        incoming.once('close', () => end(() => controller.error(closed())))
      },
      pull: () => void incoming.resume(),
      cancel() {
        isOver = true
        incoming.destroy()
      },
    },
    { highWaterMark: maxWaitingPieces },
  )
}
