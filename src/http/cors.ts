import type { Exchange } from './exchange.ts'

const maxAgeSeconds = 600

/** Lets the pages of the listed origins call the API, with the session in their cookies if there is one; any other page's browser keeps the answer from it. */
export function setCorsHeaders({ request, response }: Exchange, publicOrigins: readonly string[]): void {
  if (publicOrigins.length === 0) return
  response.setHeader('vary', 'Origin')
  const { origin } = request.headers
  if (origin === undefined || !publicOrigins.includes(origin)) return
  response.setHeader('access-control-allow-origin', origin)
  response.setHeader('access-control-allow-credentials', 'true')
  response.setHeader('access-control-expose-headers', 'x-request-id, retry-after')
}

/** Answers the question that a browser asks before it sends JSON to another origin. */
export function answerPreflight({ request, response }: Exchange, publicOrigins: readonly string[]): void {
  const { origin } = request.headers
  if (origin !== undefined && publicOrigins.includes(origin)) {
    response.setHeader('access-control-allow-methods', 'POST, GET')
    response.setHeader(
      'access-control-allow-headers',
      'authorization, content-type, accept, x-request-id, x-csrf-token',
    )
    response.setHeader('access-control-max-age', String(maxAgeSeconds))
  }
  response.statusCode = 204
  response.end()
}
