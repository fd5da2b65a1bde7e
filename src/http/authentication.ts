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

/**
 * Who sends the request: null without credentials. Wrong or expired credentials refuse the whole request, also for what
 * needs none: the caller believes to be somebody, and must learn at once that it is not so.
 */
export async function authenticateHeader(
  header: string | undefined,
  authenticate: Authenticate,
): Promise<Authentication | null> {
  const token = bearerToken(header)
  return token === null ? null : authenticate(token)
}
