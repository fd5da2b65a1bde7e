import { errors, exportJWK, jwtVerify, SignJWT, type JSONWebKeySet, type JWTPayload } from 'jose'
import type { KeyObject } from 'node:crypto'
import type { Clock } from '../../lib/clock.ts'
import { isUuid, type NewId } from '../../lib/ids.ts'
import { authError } from './auth-errors.ts'
import type { Key } from './key.ts'
import type { KeyRows } from './key-rows.ts'

/** Signs and verifies access tokens: JWTs (RFC 7519, profile of RFC 9068) with EdDSA (RFC 8037), valid for 10 minutes. */
export interface AccessTokens {
  /** A token for the session. It ends with the session when that ends within 10 minutes. */
  issue(session: { id: string; userId: string; expiresAt: Date }): Promise<AccessToken>
  /**
   * What a token of ours says; whether the session still lives is another question. Throws UnauthenticatedError with the
   * reason EXPIRED or INVALID_TOKEN.
   */
  verify(token: string): Promise<{ userId: string; sessionId: string; expiresAt: Date }>
  /** The public keys (RFC 7517), those that will sign next included. */
  jwks(): Promise<JSONWebKeySet>
}

type AccessToken = { token: string; expiresAt: Date }

export type AccessTokensDeps = { keys: KeyRows; clock: Clock; newId: NewId }

const algorithm = 'EdDSA'
const type = 'at+jwt'
const issuer = 'monk-ai'
const audience = 'monk-ai/api'
const lifetimeMs = 10 * 60_000
const toleranceSeconds = 5
// Ours have about 500 characters; nobody gets us to parse a megabyte.
const maxLength = 2_048

export function createAccessTokens({ keys, clock, newId }: AccessTokensDeps): AccessTokens {
  // Called before anything of the token has been authenticated.
  function publicKeyOf({ kid }: { kid?: string }): KeyObject {
    const key = kid === undefined ? null : keys.find('JWT_SIGNING', kid)
    if (key === null) throw new errors.JWKSNoMatchingKey()
    return signingPair(key).publicKey
  }

  async function verifiedPayload(token: string): Promise<JWTPayload> {
    if (token.length > maxLength) throw authError('INVALID_TOKEN')
    try {
      const { payload } = await jwtVerify(token, publicKeyOf, {
        algorithms: [algorithm],
        typ: type,
        issuer,
        audience,
        // Without this a token without `exp` would be valid for ever.
        requiredClaims: ['sub', 'sid', 'jti', 'iat', 'exp'],
        clockTolerance: toleranceSeconds,
        currentDate: clock.now(),
      })
      return payload
    } catch (error) {
      if (error instanceof errors.JWTExpired) throw authError('EXPIRED', error)
      if (error instanceof errors.JOSEError) throw authError('INVALID_TOKEN', error)
      throw error
    }
  }

  return {
    async issue(session) {
      const key = keys.current('JWT_SIGNING')
      const now = clock.now().getTime()
      const expiresAt = wholeSeconds(Math.min(now + lifetimeMs, session.expiresAt.getTime()))
      const token = await new SignJWT({ sid: session.id })
        .setProtectedHeader({ alg: algorithm, typ: type, kid: key.id })
        .setIssuer(issuer)
        .setAudience(audience)
        .setSubject(session.userId)
        .setJti(newId())
        .setIssuedAt(wholeSeconds(now))
        .setExpirationTime(expiresAt)
        .sign(signingPair(key).privateKey)
      return { token, expiresAt }
    },
    async verify(token) {
      const { sub, sid, exp } = await verifiedPayload(token)
      if (sub === undefined || !isUuid(sub)) throw authError('INVALID_TOKEN')
      if (typeof sid !== 'string' || !isUuid(sid) || exp === undefined) throw authError('INVALID_TOKEN')
      return { userId: sub, sessionId: sid, expiresAt: new Date(exp * 1_000) }
    },
    async jwks() {
      const publicJwk = async (key: Key): Promise<JSONWebKeySet['keys'][number]> => ({
        ...(await exportJWK(signingPair(key).publicKey)),
        kid: key.id,
        alg: algorithm,
        use: 'sig',
      })
      return { keys: await Promise.all(keys.usable('JWT_SIGNING').map(publicJwk)) }
    },
  }
}

function signingPair(key: Key): { privateKey: KeyObject; publicKey: KeyObject } {
  if (key.material.kind !== 'signing') throw new Error(`The key ${key.id} cannot sign.`)
  return key.material
}

/** JWTs count in seconds (NumericDate). */
function wholeSeconds(timeMs: number): Date {
  return new Date(Math.floor(timeMs / 1_000) * 1_000)
}
