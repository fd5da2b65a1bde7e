import type { GraphQLSchema } from 'graphql'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Admission } from '../graphql/admission.ts'
import type { Client, Services } from '../graphql/context.ts'
import { createOperations, type CreateLoaders, type OperationsOptions } from '../graphql/operations.ts'
import type { NewId } from '../lib/ids.ts'
import type { Watch } from './authentication.ts'
import { pathOf, type Exchange } from './exchange.ts'
import { createReadOrigin } from './forwarding.ts'
import { createLiveConnections, type LiveConnectionsOptions } from './live-connections.ts'
import { createSocketCookies } from './socket-cookies.ts'
import { createPageOrigins } from './page-origins.ts'
import { createReadCookies } from './request-cookies.ts'
import { requestIdOf } from './request-id.ts'
import { createRespond, setCommonHeaders } from './respond.ts'
import { createRoutes } from './routes.ts'
import { createWebSockets, defaultWebSocketsOptions, type WebSocketsOptions } from './websocket.ts'
import { createOperationAnswers } from './yoga.ts'

/** The HTTP server: GraphQL over POST, Server-Sent Events and WebSocket, health, and the public keys. */
export interface HttpServer {
  /** Starts to listen; port 0 takes a free one. Rejects when the address is taken. */
  listen(address: { host: string; port: number }): Promise<{ url: string; port: number }>
  /**
   * Takes no more connections, sends live subscribers away (they are to come back elsewhere), lets running requests end within
   * `graceMs`, and cuts off what is left.
   */
  close(graceMs: number): Promise<void>
}

export type HttpServerDeps = {
  schema: GraphQLSchema
  services: Services
  createLoaders: CreateLoaders
  admission: Admission
  newId: NewId
}

export type HttpServerOptions = {
  /** False for a worker, which is only asked how it is. */
  servesApi: boolean
  /** Origins whose pages may call the API (CORS). */
  publicOrigins: readonly string[]
  /** Whose X-Forwarded-… headers are believed: addresses, CIDR ranges, or loopback, linklocal, uniquelocal. */
  trustedProxies: readonly string[]
  /** Whether browsers get GraphiQL at /graphql. */
  graphiql: boolean
  maxBodyBytes: number
  operations: OperationsOptions
  liveConnections: LiveConnectionsOptions
  webSockets?: Partial<WebSocketsOptions>
}

// A megabyte in 30 s is 280 kbit/s; who sends its headers over more than 10 s holds a connection for nothing.
const requestTimeoutMs = 30_000
const headersTimeoutMs = 10_000
const webSocketGoodbyeMs = 1_000

export function createHttpServer(deps: HttpServerDeps, options: HttpServerOptions): HttpServer {
  const { services, newId } = deps
  const { clock, logger, accounts } = services
  const watch: Watch = (viewer, onRefused) => accounts.watch(viewer, onRefused)
  const operations = createOperations(deps, options.operations)
  const live = createLiveConnections(options.liveConnections)
  const answers = createOperationAnswers({ operations, live, watch, clock, logger })
  const respond = createRespond({ clock, logger })
  const authenticate = (token: string): ReturnType<typeof accounts.authenticate> => accounts.authenticate(token)
  const readOrigin = createReadOrigin(options.trustedProxies)
  const origins = createPageOrigins(options.publicOrigins)
  const readCookies = createReadCookies({ csrf: accounts.csrf, origins, clock, newId })
  const route = createRoutes(
    { respond, operations, answers, authenticate, readCookies, db: services.db, jwks: () => accounts.jwks() },
    options,
  )
  const webSockets = createWebSockets(
    {
      operations,
      authenticate,
      watch,
      clientOf: (request) => clientOf(request, readOrigin(request).ip),
      cookieTokenOf: createSocketCookies({ origins, readOrigin }),
      live,
      clock,
      logger,
      newId,
    },
    { ...defaultWebSocketsOptions, ...options.webSockets },
  )
  let closing = false

  const server = createServer(
    { requestTimeout: requestTimeoutMs, headersTimeout: headersTimeoutMs },
    (request, response) => {
      const exchange = beginExchange(request, response)
      setCommonHeaders(exchange)
      if (closing) response.setHeader('connection', 'close')
      route(exchange).catch((error: unknown) => {
        // Nobody is there to be told, and that the request broke off is no fault of ours.
        if (exchange.signal.aborted)
          return logger.debug({ err: error, requestId: exchange.requestId }, 'a request broke off')
        respond.error(exchange, error)
      })
    },
  )

  server.on('upgrade', (request, socket, head) => {
    socket.on('error', (error) => logger.debug({ err: error }, 'a connection broke while it was upgraded'))
    if (closing) refuseUpgrade(socket, '503 Service Unavailable')
    else if (!options.servesApi || pathOf(request) !== '/graphql') refuseUpgrade(socket, '404 Not Found')
    else webSockets.accept(request, socket, head)
  })

  function beginExchange(request: IncomingMessage, response: ServerResponse): Exchange {
    const gone = new AbortController()
    response.once('close', () => {
      if (!response.writableFinished) gone.abort()
      // A connection kept alive would hold up the end for as long as it is idle.
      if (closing) setImmediate(() => server.closeIdleConnections())
    })
    const { ip, isSecure } = readOrigin(request)
    return {
      request,
      response,
      path: pathOf(request),
      requestId: requestIdOf(request.headers['x-request-id'], newId),
      client: clientOf(request, ip),
      isSecure,
      signal: gone.signal,
    }
  }

  return {
    listen({ host, port }) {
      return new Promise((resolve, reject) => {
        server.once('error', reject)
        server.listen({ host, port }, () => {
          server.off('error', reject)
          const address = server.address()
          if (address === null || typeof address === 'string') return reject(new Error('the server listens on no port'))
          resolve({ url: urlOf(address), port: address.port })
        })
      })
    },
    async close(graceMs) {
      closing = true
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      answers.cutStreams()
      await webSockets.close(Math.min(graceMs, webSocketGoodbyeMs))
      server.closeIdleConnections()
      const timer = setTimeout(() => server.closeAllConnections(), graceMs)
      await closed
      clearTimeout(timer)
    },
  }
}

function clientOf({ headers }: IncomingMessage, ip: string): Client {
  return { ip, userAgent: headers['user-agent'] ?? null }
}

function refuseUpgrade(socket: Duplex, status: string): void {
  socket.end(`HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`)
}

function urlOf({ address, family, port }: AddressInfo): string {
  return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`
}
