import type { SessionTokens } from './accounts.ts'

/**
 * A session whose tokens are in cookies that no script can read, as the transport of one request offers it. Everything that changes something
 * must then bring a CSRF token.
 */
export interface CookieMode {
  /** Whether the request came with such cookies and without an Authorization header, which would win. */
  readonly isActive: boolean
  /** The refresh token that came as a cookie. */
  readonly refreshToken: string | null
  /**
   * Throws ForbiddenError unless a session may begin in cookies here: over https or on localhost, from a page of an allowed origin, with a CSRF
   * token.
   */
  assertMayBegin(): void
  /** Hands the tokens over as cookies; returns the CSRF token of the session. */
  grant(tokens: SessionTokens): string
  /** Takes all cookies back. */
  clear(): void
  /** A CSRF token for whoever this browser is now. Throws ForbiddenError where there can be no cookies. */
  csrfToken(): string
}
