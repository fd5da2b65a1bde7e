import { OperationTypeNode } from 'graphql'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { CsrfSignatures } from '../features/accounts/csrf-signatures.ts'
import type { CallerCookies } from '../graphql/operations.ts'
import type { Clock } from '../lib/clock.ts'
import { ForbiddenError } from '../lib/errors.ts'
import type { NewId } from '../lib/ids.ts'
import { cookieNames, readAuthCookies, setAuthCookie, type CookieName } from './auth-cookies.ts'
import { createCsrfTokens, csrfHeader } from './csrf-tokens.ts'
import { isLocalhost, type PageOrigins } from './page-origins.ts'

/** Cookie mode of one request: what resolvers see of it, and what is checked before them. */
export interface RequestCookies extends CallerCookies {
  /** The access token that came as a cookie, where that counts. */
  readonly accessToken: string | null
}

export type CookieModeDeps = { csrf: CsrfSignatures; origins: PageOrigins; clock: Clock; newId: NewId }

export type CookieRequest = { request: IncomingMessage; response: ServerResponse; isSecure: boolean }

/** As long as a session lives without being used. */
const maxAgeSeconds = 7 * 24 * 3_600

export type ReadCookies = (exchange: CookieRequest) => RequestCookies

/** `Authorization` wins over cookies: a request that has both is one without cookies. */
export function createReadCookies({ csrf, origins, clock, newId }: CookieModeDeps): ReadCookies {
  const tokens = createCsrfTokens({ csrf, newId })

  return ({ request, response, isSecure }) => {
    const { host } = request.headers
    const cookies = readAuthCookies(request)
    const isActive =
      request.headers.authorization === undefined && (cookies.access !== undefined || cookies.refresh !== undefined)
    let knownSession: string | null = null

    function set(name: CookieName, value: string, seconds = maxAgeSeconds): void {
      setAuthCookie(response, name, { value, maxAgeSeconds: seconds })
    }

    function assertPossible(): void {
      if (isSecure || isLocalhost(host)) return
      throw new ForbiddenError('Cookies are only for https, and for localhost.', {
        details: { reason: 'INSECURE_TRANSPORT' },
        suggestions: [
          'Call this server over https; behind a proxy that ends TLS, name the proxy in TRUSTED_PROXIES.',
          'Without cookies (`useCookies: false`), send the access token as "Authorization: Bearer <token>".',
        ],
      })
    }

    function assertToken(): void {
      const presented = request.headers[csrfHeader]
      const binding = knownSession ?? cookies.binding
      if (typeof presented === 'string' && binding !== undefined && tokens.isValid(presented, cookies.csrf, binding))
        return
      throw new ForbiddenError('The CSRF token is missing or does not fit.', {
        details: { reason: 'CSRF' },
        suggestions: [
          `Send the value of the cookie ${cookieNames.csrf} as the header ${csrfHeader}.`,
          'Get one with `query { csrfToken }`.',
        ],
      })
    }

    function issue(binding: string): string {
      const token = tokens.issue(binding)
      set('csrf', token)
      return token
    }

    return {
      isActive,
      accessToken: isActive ? (cookies.access ?? null) : null,
      refreshToken: isActive ? (cookies.refresh ?? null) : null,
      // A page of another origin may not even read; mutations need a CSRF token. `sessionId` is whose access token came.
      assertAllowed(operation, sessionId) {
        if (!isActive) return
        knownSession = sessionId
        assertPossible()
        origins.assertAllowed(request, { host, isSecure })
        if (operation === OperationTypeNode.MUTATION) assertToken()
      },
      assertMayBegin() {
        assertPossible()
        origins.assertAllowed(request, { host, isSecure })
        assertToken()
      },
      grant({ sessionId, accessToken, accessTokenExpiresAt, refreshToken }) {
        const secondsLeft = Math.ceil((accessTokenExpiresAt.getTime() - clock.now().getTime()) / 1_000)
        set('access', accessToken, Math.max(1, secondsLeft))
        set('refresh', refreshToken)
        set('binding', sessionId)
        return issue(sessionId)
      },
      clear() {
        for (const name of ['access', 'refresh', 'binding', 'csrf'] as const) set(name, '', 0)
      },
      csrfToken() {
        assertPossible()
        const known = knownSession ?? cookies.binding
        const binding = known ?? newId()
        if (known === undefined) set('binding', binding)
        return issue(binding)
      },
    }
  }
}
