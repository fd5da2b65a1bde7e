import type { Transport } from '../graphql/transport.ts'
import { acceptedTypes, type Accepted } from './accept.ts'
import { bearerToken, identify, type Authenticate, type Identity } from './authentication.ts'
import { operationOfQuery, readOperation } from './body.ts'
import { answerPreflight, setCorsHeaders } from './cors.ts'
import type { Exchange } from './exchange.ts'
import { createGraphiQLPage } from './graphiql.ts'
import { methodNotAllowed, notAcceptable } from './http-error.ts'
import type { ReadCookies, RequestCookies } from './request-cookies.ts'
import type { Respond } from './respond.ts'
import type { OperationRequest, Operations } from '../graphql/operations.ts'
import type { OperationAnswers } from './yoga.ts'

export type GraphQLRouteDeps = {
  respond: Respond
  operations: Pick<Operations, 'admit'>
  answers: OperationAnswers
  authenticate: Authenticate
  readCookies: ReadCookies
}

export type GraphQLRouteOptions = {
  /** Origins whose pages may call the API. */
  publicOrigins: readonly string[]
  /** Whether browsers get the GraphiQL page. */
  graphiql: boolean
  maxBodyBytes: number
}

type Admitted = Identity & { cookies: RequestCookies }

const namesDocument = ['query', 'documentId', 'extensions']

/** `/graphql`: POST for all operations, GET for the GraphiQL page and for an `EventSource`. */
export function createGraphQLRoute(
  { respond, operations, answers, authenticate, readCookies }: GraphQLRouteDeps,
  { publicOrigins, graphiql, maxBodyBytes }: GraphQLRouteOptions,
): (exchange: Exchange) => Promise<void> {
  const graphiqlPage = createGraphiQLPage()

  async function post(exchange: Exchange, accepted: Accepted): Promise<void> {
    if (!accepted.json && !accepted.eventStream) throw notAcceptable()
    const admitted = await admit(exchange)
    const operation = await readOperation(exchange.request, maxBodyBytes)
    const transport = accepted.eventStream ? 'post-stream' : 'post'
    await run(exchange, operation, { ...admitted, transport })
  }

  async function get(exchange: Exchange, accepted: Accepted): Promise<void> {
    if (accepted.html && graphiql) return respond.html(exchange, await graphiqlPage())
    const { searchParams } = new URL(exchange.request.url ?? '', 'http://localhost')
    if (!accepted.eventStream || !namesDocument.some((name) => searchParams.has(name))) {
      throw methodNotAllowed('POST', { suggestions: ['Send the operation by POST, as application/json.'] })
    }
    const admitted = await admit(exchange)
    await run(exchange, operationOfQuery(searchParams), { ...admitted, transport: 'get-stream' })
  }

  /** Who asks; counted before anything is read of what they ask. */
  async function admit(exchange: Exchange): Promise<Admitted> {
    const { request, client } = exchange
    const cookies = readCookies(exchange)
    const readToken = (): string | null => bearerToken(request.headers.authorization) ?? cookies.accessToken
    const identity = await identify(readToken, authenticate)
    await operations.admit({ viewer: identity.authentication?.viewer ?? null, client })
    return { ...identity, cookies }
  }

  async function run(
    exchange: Exchange,
    operation: OperationRequest,
    { authentication, credentialsError, cookies, transport }: Admitted & { transport: Transport },
  ): Promise<void> {
    const { requestId, client, signal } = exchange
    await answers.answer(exchange, operation, {
      requestId,
      viewer: authentication?.viewer ?? null,
      credentialsError,
      expiresAt: authentication?.expiresAt ?? null,
      client,
      cookies,
      transport,
      signal,
    })
  }

  return async (exchange) => {
    setCorsHeaders(exchange, publicOrigins)
    exchange.response.setHeader('cache-control', 'no-store')
    const accepted = acceptedTypes(exchange.request.headers.accept)
    const { method } = exchange.request
    if (method === 'POST') return post(exchange, accepted)
    if (method === 'GET') return get(exchange, accepted)
    if (method === 'OPTIONS') return answerPreflight(exchange, publicOrigins)
    throw methodNotAllowed('GET, POST')
  }
}
