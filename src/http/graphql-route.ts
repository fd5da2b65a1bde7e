import type { Transport } from '../graphql/transport.ts'
import { acceptedTypes, type Accepted } from './accept.ts'
import { admit, readCredentials, type Authenticate, type Authentication } from './authentication.ts'
import { operationOfQuery, readOperation } from './body.ts'
import { answerPreflight, setCorsHeaders } from './cors.ts'
import type { Exchange } from './exchange.ts'
import { createGraphiQLPage } from './graphiql.ts'
import { methodNotAllowed, notAcceptable } from './http-error.ts'
import type { Respond } from './respond.ts'
import type { OperationRequest, Operations } from '../graphql/operations.ts'
import type { OperationAnswers } from './yoga.ts'

export type GraphQLRouteDeps = {
  respond: Respond
  answers: OperationAnswers
  operations: Pick<Operations, 'beginsSession'>
  authenticate: Authenticate
}

export type GraphQLRouteOptions = {
  /** Origins whose pages may call the API. */
  publicOrigins: readonly string[]
  /** Whether browsers get the GraphiQL page. */
  graphiql: boolean
  maxBodyBytes: number
}

/** `/graphql`: POST for all operations, GET for the GraphiQL page and for an `EventSource`. */
export function createGraphQLRoute(
  { respond, answers, operations, authenticate }: GraphQLRouteDeps,
  { publicOrigins, graphiql, maxBodyBytes }: GraphQLRouteOptions,
): (exchange: Exchange) => Promise<void> {
  const graphiqlPage = createGraphiQLPage()

  async function post(exchange: Exchange, accepted: Accepted): Promise<void> {
    if (!accepted.json && !accepted.eventStream) throw notAcceptable()
    const credentials = await readCredentials(exchange.request.headers.authorization, authenticate)
    const operation = await readOperation(exchange.request, maxBodyBytes)
    const authentication = admit(credentials, () => operations.beginsSession(operation))
    const transport = accepted.eventStream ? 'post-stream' : 'post'
    await run(exchange, operation, { authentication, transport })
  }

  async function get(exchange: Exchange, accepted: Accepted): Promise<void> {
    if (accepted.html && graphiql) return respond.html(exchange, await graphiqlPage())
    const { searchParams } = new URL(exchange.request.url ?? '', 'http://localhost')
    if (!accepted.eventStream || !searchParams.has('query')) {
      throw methodNotAllowed('POST', { suggestions: ['Send the operation by POST, as application/json.'] })
    }
    const credentials = await readCredentials(exchange.request.headers.authorization, authenticate)
    const authentication = admit(credentials, () => false)
    await run(exchange, operationOfQuery(searchParams), { authentication, transport: 'get-stream' })
  }

  async function run(
    exchange: Exchange,
    operation: OperationRequest,
    { authentication, transport }: { authentication: Authentication | null; transport: Transport },
  ): Promise<void> {
    const { requestId, client, signal } = exchange
    await answers.answer(exchange, operation, {
      requestId,
      viewer: authentication?.viewer ?? null,
      expiresAt: authentication?.expiresAt ?? null,
      client,
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
