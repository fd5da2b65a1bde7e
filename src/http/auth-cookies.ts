import type { IncomingMessage, ServerResponse } from 'node:http'

/**
 * The cookies of cookie mode. `__Host-` (RFC 6265bis): only this host can have set them, over TLS, for all of its paths; so neither a
 * neighbouring subdomain nor a line without TLS can plant one.
 */
export const cookieNames = {
  access: '__Host-monk-access',
  refresh: '__Host-monk-refresh',
  /** The session, or an id of nobody: what a CSRF token is bound to. */
  binding: '__Host-monk-binding',
  /** The only one that scripts can read. */
  csrf: '__Host-monk-csrf',
} as const

export type CookieName = keyof typeof cookieNames

// Ours have about 700 characters; nobody gets us to parse a megabyte.
const maxHeaderLength = 16_384

/** Our cookies of a request. The first of a name counts, as browsers order them. */
export function readAuthCookies({ headers }: IncomingMessage): Partial<Record<CookieName, string>> {
  const { cookie = '' } = headers
  const found: Partial<Record<CookieName, string>> = {}
  if (cookie.length > maxHeaderLength) return found
  for (const pair of cookie.split(';')) {
    const equals = pair.indexOf('=')
    const name = namesBack.get(pair.slice(0, equals).trim())
    const value = pair.slice(equals + 1).trim()
    if (equals > 0 && name !== undefined && value !== '') found[name] ??= value
  }
  return found
}

const namesBack = new Map<string, CookieName>([
  [cookieNames.access, 'access'],
  [cookieNames.refresh, 'refresh'],
  [cookieNames.binding, 'binding'],
  [cookieNames.csrf, 'csrf'],
])

/** Sets a cookie for `maxAgeSeconds`; 0 takes it away. */
export function setAuthCookie(
  response: ServerResponse,
  name: CookieName,
  { value, maxAgeSeconds }: { value: string; maxAgeSeconds: number },
): void {
  const attributes = [
    `${cookieNames[name]}=${value}`,
    'Path=/',
    'Secure',
    ...(name === 'csrf' ? [] : ['HttpOnly']),
    'SameSite=Strict',
    `Max-Age=${maxAgeSeconds}`,
  ]
  response.appendHeader('set-cookie', attributes.join('; '))
}
