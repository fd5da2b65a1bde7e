import { once, setMaxListeners } from 'node:events'
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import { sleep } from '../../src/lib/sleep.ts'

/** One thing that the server does while it answers. */
export type Act =
  | { do: 'wait'; ms: number }
  /** Waits until the test says so. */
  | { do: 'hold'; until: Promise<unknown> }
  | { do: 'write'; bytes: string | Uint8Array }
  /** Keeps the connection open and says nothing more. */
  | { do: 'stall' }
  /** Ends the body properly. */
  | { do: 'end' }
  /** Closes the connection in the middle of the body, without its end. */
  | { do: 'cut' }

/** How one request is answered. */
export type Reply =
  | StreamReply
  | { kind: 'error'; status: number; body: unknown; headers?: Record<string, string> }
  /** The connection is reset before any header. */
  | { kind: 'reset' }
  /** The request is read and never answered. */
  | { kind: 'silence' }

export type StreamReply = {
  kind: 'stream'
  acts: readonly Act[]
  status?: number
  headers?: Record<string, string>
  headersAfterMs?: number
}

/** What the server saw of one request. */
export type SeenRequest = {
  path: string
  /** The port that the client called from: the same for the same connection. */
  port: number
  headers: IncomingHttpHeaders
  body: Record<string, unknown>
  /** On the clock of performance.now(). */
  receivedAtMs: number
  /** When each `write` was handed to the socket. */
  wroteAtMs: number[]
  /** True when the client closed the connection before the answer had ended. */
  hungUp: boolean
  /** Resolves when the connection or the answer has ended, however. */
  closed: Promise<void>
}

/** An OpenAI-compatible server that does exactly what it is told, also what no sane one does. */
export interface ModelServer extends AsyncDisposable {
  /** For a provider's `baseUrl`. */
  readonly baseUrl: string
  readonly requests: readonly SeenRequest[]
  /** Answers the next requests with these, in this order. */
  reply(...replies: readonly Reply[]): void
  /** Answers every request for which no reply is waiting. Without it such a request is an error 599. */
  replyAlways(reply: Reply | ((request: SeenRequest) => Reply)): void
  close(): Promise<void>
}

export const chunk = (delta: object, finishReason: string | null = null, more: object = {}): Act =>
  data({
    id: 'chatcmpl-test',
    object: 'chat.completion.chunk',
    created: 1,
    model: 'test-model-1',
    choices: [{ index: 0, delta, finish_reason: finishReason }],
    ...more,
  })
export const text = (content: string): Act => chunk({ content })
export const texts = (...contents: readonly string[]): Act[] => contents.map(text)
export const finish = (reason = 'stop'): Act => chunk({}, reason)
export const usage = (prompt: number, completion: number, more: object = {}): Act =>
  data({
    id: 'chatcmpl-test',
    object: 'chat.completion.chunk',
    created: 1,
    model: 'test-model-1',
    choices: [],
    usage: { prompt_tokens: prompt, completion_tokens: completion, total_tokens: prompt + completion, ...more },
  })
export const data = (value: unknown): Act => raw(`data: ${JSON.stringify(value)}\n\n`)
export const raw = (bytes: string): Act => ({ do: 'write', bytes })
export const wait = (ms: number): Act => ({ do: 'wait', ms })
export const hold = (until: Promise<unknown>): Act => ({ do: 'hold', until })
export const done: Act = raw('data: [DONE]\n\n')
export const end: Act = { do: 'end' }
export const cut: Act = { do: 'cut' }
export const stall: Act = { do: 'stall' }

/** A body made of these acts. It ends properly unless the last act says otherwise. */
export const stream = (...acts: readonly Act[]): StreamReply => ({ kind: 'stream', acts })
/** A whole good answer. */
export const answer = (...contents: readonly string[]): StreamReply =>
  stream(chunk({ role: 'assistant', content: '' }), ...texts(...contents), finish(), usage(11, contents.length), done)
export const httpError = (status: number, error: unknown = {}, headers: Record<string, string> = {}): Reply => ({
  kind: 'error',
  status,
  body: { error },
  headers,
})
export const reset: Reply = { kind: 'reset' }
export const silence: Reply = { kind: 'silence' }

export async function startModelServer(): Promise<ModelServer> {
  const requests: SeenRequest[] = []
  const waiting: Reply[] = []
  const stopping = new AbortController()
  // Each answer that waits listens to it.
  setMaxListeners(0, stopping.signal)
  let always: (request: SeenRequest) => Reply = () => httpError(599, { message: 'the test told no reply' })

  const server = createServer((incoming, response) => {
    const receivedAtMs = performance.now()
    const parts: Buffer[] = []
    incoming.on('data', (part: Buffer) => parts.push(part))
    incoming.on('end', () => {
      const seen: SeenRequest = {
        path: incoming.url ?? '',
        port: incoming.socket.remotePort ?? 0,
        headers: incoming.headers,
        body: JSON.parse(Buffer.concat(parts).toString() || '{}'),
        receivedAtMs,
        wroteAtMs: [],
        hungUp: false,
        closed: new Promise((resolve) => {
          response.once('close', () => {
            seen.hungUp = !response.writableEnded && !stage.isCutByUs
            resolve()
          })
        }),
      }
      const stage: Stage = { response, seen, signal: stopping.signal, isCutByUs: false }
      requests.push(seen)
      const reply = waiting.shift() ?? always(seen)
      // A client that hangs up, or the end of the test, ends the reply in the middle: nothing is wrong with that.
      perform(reply, stage).catch((error: unknown) => {
        if (!stopping.signal.aborted && !response.destroyed) throw error
      })
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the model server has no port')

  async function close(): Promise<void> {
    stopping.abort()
    if (!server.listening) return
    server.close()
    server.closeAllConnections()
    await once(server, 'close')
  }

  return {
    baseUrl: `http://127.0.0.1:${String(address.port)}/v1`,
    requests,
    reply(...replies) {
      waiting.push(...replies)
    },
    replyAlways(reply) {
      always = typeof reply === 'function' ? reply : () => reply
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}

type Stage = { response: ServerResponse; seen: SeenRequest; signal: AbortSignal; isCutByUs: boolean }

async function perform(reply: Reply, stage: Stage): Promise<void> {
  const { response } = stage
  switch (reply.kind) {
    case 'silence':
      return
    case 'reset':
      stage.isCutByUs = true
      response.socket?.resetAndDestroy()
      return
    case 'error':
      response.writeHead(reply.status, {
        'content-type': 'application/json',
        'x-request-id': 'req-test',
        ...reply.headers,
      })
      response.end(JSON.stringify(reply.body))
      return
    case 'stream':
      await pause(reply.headersAfterMs ?? 0, stage)
      response.writeHead(reply.status ?? 200, {
        'content-type': 'text/event-stream; charset=utf-8',
        'x-request-id': 'req-test',
        ...reply.headers,
      })
      response.flushHeaders()
      for (const act of reply.acts) {
        if (response.destroyed || (await performAct(act, stage)) === 'over') return
      }
      response.end()
  }
}

async function performAct(act: Act, stage: Stage): Promise<'more' | 'over'> {
  const { response, seen } = stage
  switch (act.do) {
    case 'wait':
      await pause(act.ms, stage)
      return 'more'
    case 'hold':
      await act.until
      return 'more'
    case 'write':
      // A tick for each, so that each is a packet of its own.
      await new Promise<void>((resolve) => {
        response.write(act.bytes, () => setImmediate(resolve))
        seen.wroteAtMs.push(performance.now())
      })
      return 'more'
    case 'stall':
      return 'over'
    case 'end':
      response.end()
      return 'over'
    case 'cut':
      stage.isCutByUs = true
      response.socket?.destroySoon()
      return 'over'
  }
}

async function pause(ms: number, { signal }: Stage): Promise<void> {
  if (ms === 0) return
  try {
    await sleep(ms, signal)
  } catch (error) {
    if (!signal.aborted) throw error
  }
}
