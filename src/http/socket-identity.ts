import { UnauthenticatedError } from '../lib/errors.ts'
import { bearerToken, identify, type Authenticate, type Identity } from './authentication.ts'

/** Who opens a socket: `authorization` in the connection's parameters as the header would be, or `accessToken` bare, or the cookies. */
export function identifySocket(
  params: Readonly<Record<string, unknown>> | undefined,
  readCookieToken: () => string | null,
  authenticate: Authenticate,
): Promise<Identity> {
  return identify(() => tokenOf(params) ?? readCookieToken(), authenticate)
}

function tokenOf(params: Readonly<Record<string, unknown>> | undefined): string | null {
  const { authorization, accessToken } = params ?? {}
  if (typeof authorization === 'string') return bearerToken(authorization)
  if (typeof accessToken === 'string') return accessToken
  if (isGiven(authorization) || isGiven(accessToken)) throw new UnauthenticatedError('The token must be text.')
  return null
}

const isGiven = (value: unknown): boolean => value !== undefined && value !== null
