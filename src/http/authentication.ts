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

/** Who sends a request; nobody without credentials, and nobody with wrong ones, which are said then. */
export type Identity = { authentication: Authentication | null; credentialsError: UnauthenticatedError | null }

/** `readToken` throws UnauthenticatedError when there is something in its place that is no token. */
export async function identify(readToken: () => string | null, authenticate: Authenticate): Promise<Identity> {
  try {
    const token = readToken()
    return { authentication: token === null ? null : await authenticate(token), credentialsError: null }
  } catch (error) {
    if (error instanceof UnauthenticatedError) return { authentication: null, credentialsError: error }
    throw error
  }
}
