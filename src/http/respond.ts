import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { formatError } from '../graphql/error-format.ts'
import type { Clock } from '../lib/clock.ts'
import type { Logger } from '../platform/logger.ts'
import type { Exchange } from './exchange.ts'
import { headersOf, HttpError, statusOf } from './http-error.ts'

/** Answers one exchange, always with the headers that every answer has. */
export interface Respond {
  json(exchange: Exchange, status: number, body: unknown, headers?: Readonly<Record<string, string>>): void
  /** In the one error format; what is no AppError is logged and shown as INTERNAL_SERVER_ERROR. */
  error(exchange: Exchange, error: unknown): void
  html(exchange: Exchange, page: { body: string; contentSecurityPolicy: string }): void
  redirect(exchange: Exchange, location: string): void
}

const graphqlResponse = 'application/graphql-response+json'
const maxDrainMs = 1_000
const hstsSeconds = 365 * 24 * 3_600
// Nothing but a page of ours (which brings its own) is ever to be rendered.
const contentSecurityPolicy = [
  "default-src 'none'",
  "object-src 'none'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

/** What every answer carries, set before anything else so that no route can forget it. */
export function setCommonHeaders({ response, requestId, isSecure }: Exchange): void {
  response.setHeader('x-request-id', requestId)
  response.setHeader('x-content-type-options', 'nosniff')
  response.setHeader('referrer-policy', 'no-referrer')
  response.setHeader('content-security-policy', contentSecurityPolicy)
  if (isSecure) response.setHeader('strict-transport-security', `max-age=${hstsSeconds}`)
}

export function createRespond({ clock, logger }: { clock: Clock; logger: Logger }): Respond {
  function json(
    exchange: Exchange,
    status: number,
    body: unknown,
    headers: Readonly<Record<string, string>> = {},
  ): void {
    exchange.response.setHeader('content-type', 'application/json; charset=utf-8')
    for (const [name, value] of Object.entries(headers)) exchange.response.setHeader(name, value)
    send(exchange, status, JSON.stringify(body))
  }

  return {
    json,
    error(exchange, error) {
      const { request, response, requestId } = exchange
      const shown = formatError(error, { requestId, now: clock.now(), logger })
      // Half an answer cannot be mended; a broken connection at least does not look like a whole one.
      if (response.headersSent) return void response.destroy()
      const status = error instanceof HttpError ? error.status : statusOf(String(shown.extensions['code']))
      const type = request.headers.accept?.includes(graphqlResponse) ? graphqlResponse : 'application/json'
      json(
        exchange,
        status,
        { errors: [shown.toJSON()] },
        {
          ...(error instanceof HttpError ? error.headers : {}),
          ...headersOf({ code: String(shown.extensions['code']), details: shown.extensions['details'] }),
          'content-type': `${type}; charset=utf-8`,
          'cache-control': 'no-store',
        },
      )
    },
    html(exchange, page) {
      exchange.response.setHeader('content-type', 'text/html; charset=utf-8')
      exchange.response.setHeader('content-security-policy', page.contentSecurityPolicy)
      send(exchange, 200, page.body)
    },
    redirect(exchange, location) {
      exchange.response.setHeader('location', location)
      send(exchange, 302, '')
    },
  }
}

function send({ request, response }: Exchange, status: number, body: string): void {
  response.statusCode = status
  response.setHeader('content-length', Buffer.byteLength(body))
  const content = request.method === 'HEAD' ? '' : body
  if (request.complete || !announcesBody(request)) return void response.end(content)
  // The caller still sends. Closing now would reset the connection and take the answer with it, so what comes is read and dropped
  // for a moment.
  response.setHeader('connection', 'close')
  response.write(content)
  void drain(request).then(() => response.end())
}

// A request without a body is not `complete` either before its first turn of the event loop has ended.
function announcesBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
}

async function drain(request: IncomingMessage): Promise<void> {
  request.resume()
  // Rejects when the caller breaks off or takes too long: either way there is nothing more to wait for.
  await once(request, 'end', { signal: AbortSignal.timeout(maxDrainMs) }).catch(() => undefined)
}
