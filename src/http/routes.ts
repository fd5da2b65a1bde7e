import type { JSONWebKeySet } from 'jose'
import { NotFoundError } from '../lib/errors.ts'
import type { Database } from '../platform/database/database.ts'
import type { Authenticate } from './authentication.ts'
import type { Exchange } from './exchange.ts'
import { createGraphQLRoute, type GraphQLRouteOptions } from './graphql-route.ts'
import { checkReadiness } from './health.ts'
import { methodNotAllowed } from './http-error.ts'
import type { Operations } from '../graphql/operations.ts'
import type { ReadCookies } from './request-cookies.ts'
import type { Respond } from './respond.ts'
import type { OperationAnswers } from './yoga.ts'

export type Route = (exchange: Exchange) => Promise<void>

export type RoutesDeps = {
  respond: Respond
  operations: Pick<Operations, 'admit'>
  answers: OperationAnswers
  authenticate: Authenticate
  readCookies: ReadCookies
  db: Pick<Database, 'ping'>
  jwks: () => Promise<JSONWebKeySet>
}

/** A worker has no API: it is only asked how it is. */
export type RoutesOptions = GraphQLRouteOptions & { servesApi: boolean }

const readinessTimeoutMs = 1_000
const jwksMaxAgeSeconds = 60

/** Every path that this server knows. */
export function createRoutes(
  { respond, operations, answers, authenticate, readCookies, db, jwks }: RoutesDeps,
  { servesApi, ...options }: RoutesOptions,
): Route {
  const apiRoutes: [string, Route][] = [
    ['/graphql', createGraphQLRoute({ respond, operations, answers, authenticate, readCookies }, options)],
    ['/', reading(async (exchange) => respond.redirect(exchange, '/graphql'))],
  ]
  const routes = new Map<string, Route>([
    ...(servesApi ? apiRoutes : []),
    [
      '/health/live',
      reading(async (exchange) => respond.json(exchange, 200, { status: 'OK' }, { 'cache-control': 'no-store' })),
    ],
    [
      '/health/ready',
      reading(async (exchange) => {
        const readiness = await checkReadiness(db, readinessTimeoutMs)
        respond.json(exchange, readiness.status === 'OK' ? 200 : 503, readiness, { 'cache-control': 'no-store' })
      }),
    ],
    [
      '/.well-known/jwks.json',
      reading(async (exchange) =>
        respond.json(exchange, 200, await jwks(), { 'cache-control': `public, max-age=${jwksMaxAgeSeconds}` }),
      ),
    ],
  ])

  return async (exchange) => {
    const route = routes.get(exchange.path)
    if (route === undefined) throw new NotFoundError('path', { suggestions: ['GraphQL is at /graphql.'] })
    await route(exchange)
  }
}

function reading(route: Route): Route {
  return async (exchange) => {
    if (exchange.request.method !== 'GET' && exchange.request.method !== 'HEAD') throw methodNotAllowed('GET, HEAD')
    await route(exchange)
  }
}
