import type { ExecutionArgs } from 'graphql'
import { CloseCode, handleProtocols, makeServer } from 'graphql-ws'
import { setMaxListeners } from 'node:events'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { WebSocketServer, type RawData, type WebSocket } from 'ws'
import type { Client } from '../graphql/context.ts'
import type { Operations, PreparedOperation } from '../graphql/operations.ts'
import type { Clock } from '../lib/clock.ts'
import { AppError } from '../lib/errors.ts'
import type { NewId } from '../lib/ids.ts'
import type { Logger } from '../platform/logger.ts'
import type { Authenticate, Watch } from './authentication.ts'
import type { LiveConnections } from './live-connections.ts'
import { createMessageMeter } from './message-meter.ts'
import type { Connection } from './socket-connection.ts'
import type { CookieTokenOf } from './socket-cookies.ts'
import { createConnect } from './socket-connect.ts'
import { keepAlive } from './socket-liveness.ts'
import { createPrepare } from './socket-operation.ts'
import { createOutbox, tryAgainLater } from './socket-outbox.ts'

/** GraphQL over WebSocket, sub-protocol graphql-transport-ws (https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md). */
export interface WebSockets {
  /** Takes over a connection that asked for an upgrade. */
  accept(request: IncomingMessage, socket: Duplex, head: Buffer): void
  /** Closes all with 1001, and drops those that do not answer that within `timeoutMs`. */
  close(timeoutMs: number): Promise<void>
}

export type WebSocketsDeps = {
  operations: Operations
  authenticate: Authenticate
  watch: Watch
  clientOf: (request: IncomingMessage) => Client
  cookieTokenOf: CookieTokenOf
  live: LiveConnections
  clock: Clock
  logger: Logger
  newId: NewId
}

export type WebSocketsOptions = {
  /** Until `connection_init` must have come; then 4408. */
  initTimeoutMs: number
  maxFrameBytes: number
  /** More at once are refused one by one. */
  maxSubscriptions: number
  /** More close the socket with 4429. */
  maxMessagesPerSecond: number
  maxBufferedBytes: number
  maxStallMs: number
  pingIntervalMs: number
}

export const defaultWebSocketsOptions: WebSocketsOptions = {
  initTimeoutMs: 3_000,
  maxFrameBytes: 1024 * 1024,
  maxSubscriptions: 50,
  maxMessagesPerSecond: 20,
  maxBufferedBytes: 4 * 1024 * 1024,
  maxStallMs: 10_000,
  pingIntervalMs: 12_000,
}

type Run = Extract<PreparedOperation, { kind: 'ready' }>['run']

export function createWebSockets(deps: WebSocketsDeps, options: WebSocketsOptions): WebSockets {
  const { clock, logger } = deps
  const connect = createConnect(deps)
  const prepare = createPrepare(deps, options)
  const runs = new WeakMap<ExecutionArgs, Run>()

  const protocol = makeServer<Record<string, unknown>, Connection>({
    connectionInitWaitTimeout: options.initTimeoutMs,
    onConnect: ({ connectionParams, extra }) => connect(connectionParams, extra),
    async onSubscribe({ extra, subscriptions }, _id, payload) {
      const prepared = await prepare(payload, extra, Object.keys(subscriptions).length)
      if (prepared.kind === 'refused') return [...prepared.errors]
      runs.set(prepared.args, prepared.run)
      return prepared.args
    },
    execute: (args) => runOf(args),
    subscribe: (args) => runOf(args),
  })

  function runOf(args: ExecutionArgs): ReturnType<Run> {
    const run = runs.get(args)
    if (run === undefined) throw new Error('an operation was executed that was not prepared')
    return run()
  }

  function open(socket: WebSocket, request: IncomingMessage): void {
    const closed = new AbortController()
    // One listener for each operation, and a socket may have many.
    setMaxListeners(0, closed.signal)
    const connection: Connection = {
      socket,
      client: deps.clientOf(request),
      readCookieToken: () => deps.cookieTokenOf(request),
      authentication: null,
      closed: closed.signal,
      close(code, reason) {
        socket.close(code, reason)
        closed.abort()
      },
    }
    const outbox = createOutbox(connection, options)
    const isInTime = createMessageMeter(options.maxMessagesPerSecond, clock)
    const handleClose = protocol.opened(
      {
        protocol: socket.protocol,
        send: (text) => outbox.send(text),
        close: (code, reason) => connection.close(code, reason),
        onMessage(handle) {
          socket.on('message', (data) => {
            // What still comes while the socket closes is for nobody.
            if (socket.readyState !== socket.OPEN) return
            if (!isInTime()) return connection.close(CloseCode.TooManyInitialisationRequests, 'Too many messages')
            void handle(textOf(data)).catch((error: unknown) => fail(connection, error))
          })
        },
      },
      connection,
    )
    keepAlive(socket, options.pingIntervalMs)
    // A broken frame or connection: ws closes the socket by itself, with the code that says why.
    socket.on('error', (error) => logger.debug({ err: error }, 'a websocket broke'))
    socket.once('close', (code, reason) => {
      closed.abort()
      void handleClose(code, String(reason)).catch((error: unknown) => {
        logger.error({ err: error }, 'closing a websocket failed')
      })
    })
  }

  function fail(connection: Connection, error: unknown): void {
    if (error instanceof AppError) return connection.close(tryAgainLater, 'Try again later')
    logger.error({ err: error }, 'handling a websocket message failed')
    connection.close(CloseCode.InternalServerError, 'Internal server error')
  }

  const server = new WebSocketServer({
    noServer: true,
    maxPayload: options.maxFrameBytes,
    // It costs memory for each socket, and a small frame could unpack to a large one.
    perMessageDeflate: false,
    handleProtocols,
  })

  return {
    accept(request, socket, head) {
      server.handleUpgrade(request, socket, head, open)
    },
    async close(timeoutMs) {
      const gone = [...server.clients].map(
        (socket) => new Promise<void>((resolve) => socket.once('close', () => resolve())),
      )
      for (const socket of server.clients) socket.close(1001, 'Going away')
      const timer = setTimeout(() => {
        for (const socket of server.clients) socket.terminate()
      }, timeoutMs)
      await Promise.all(gone)
      clearTimeout(timer)
      server.close()
    },
  }
}

function textOf(data: RawData): string {
  if (Array.isArray(data)) return Buffer.concat(data).toString()
  return Buffer.isBuffer(data) ? data.toString() : Buffer.from(data).toString()
}
