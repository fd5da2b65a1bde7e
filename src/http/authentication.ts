import type { Viewer } from '../features/accounts/viewer.ts'
import { UnauthenticatedError } from '../lib/errors.ts'

/** A valid token: whose it is, and until when (null: it does not end by itself). */
export type Authentication = { viewer: Viewer; expiresAt: Date | null }

/** Checks a token. Rejects with UnauthenticatedError when it is not valid (any more). */
export type Authenticate = (token: string) => Promise<Authentication>

const bearer = /^Bearer ([A-Za-z0-9\-._~+/]+=*)$/i

/** The token of an `Authorization: Bearer …` header (RFC 6750), or null when there is none. */
export function bearerToken(header: string | undefined): string | null {
  if (header === undefined) return null
  const token = bearer.exec(header.trim())?.[1]
  if (token === undefined) throw new UnauthenticatedError('The Authorization header is not "Bearer <token>".')
  return token
}

/** Watches a viewer who stays: calls `onRefused` once when they are not let in any more. Returns what ends the watch. */
export type Watch = (viewer: Viewer, onRefused: () => void) => () => void

/** What came of the credentials of a request. */
export type Credentials = { kind: 'taken'; authentication: Authentication | null } | { kind: 'refused'; error: Error }

/** Who sends the request: null without credentials. Wrong or expired credentials do not throw yet: see `admit`. */
export async function readCredentials(header: string | undefined, authenticate: Authenticate): Promise<Credentials> {
  try {
    const token = bearerToken(header)
    return { kind: 'taken', authentication: token === null ? null : await authenticate(token) }
  } catch (error) {
    if (error instanceof UnauthenticatedError) return { kind: 'refused', error }
    throw error
  }
}

/**
 * Wrong or expired credentials refuse the whole request, also for what needs none: the caller believes to be somebody, and must learn at once
 * that it is not so. Except where they want to change just that: there they count as none.
 */
export function admit(credentials: Credentials, isBeginningSession: () => boolean): Authentication | null {
  if (credentials.kind === 'taken') return credentials.authentication
  if (isBeginningSession()) return null
  throw credentials.error
}
