import type { IncomingMessage } from 'node:http'
import { UnauthenticatedError } from '../lib/errors.ts'
import { readAuthCookies } from './auth-cookies.ts'
import type { ReadOrigin } from './forwarding.ts'
import type { PageOrigins } from './page-origins.ts'

/** The access token in the cookies of an upgrade request; null when there is none. Throws as `createSocketCookies` says. */
export type CookieTokenOf = (request: IncomingMessage) => string | null

/**
 * No browser asks before it opens a WebSocket to another origin, and it sends the cookies along: so with cookies the origin has to be named,
 * and to be ours or a listed one. Otherwise UnauthenticatedError is thrown, which closes the socket with 4403.
 */
export function createSocketCookies({
  origins,
  readOrigin,
}: {
  origins: PageOrigins
  readOrigin: ReadOrigin
}): CookieTokenOf {
  return (request) => {
    const { access } = readAuthCookies(request)
    if (access === undefined) return null
    const self = { host: request.headers.host, isSecure: readOrigin(request).isSecure }
    if (origins.isAllowed(request, self, { isOriginRequired: true })) return access
    throw new UnauthenticatedError('Pages of this origin may not use the session in your cookies.')
  }
}
