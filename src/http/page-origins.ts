import type { IncomingMessage } from 'node:http'
import { ForbiddenError } from '../lib/errors.ts'

/** Which pages may use the cookies of a browser. */
export interface PageOrigins {
  /**
   * Throws ForbiddenError when a page of another origin sent the request. Browsers name the page's origin with every POST and every WebSocket;
   * where they do not (GET within one origin), `Sec-Fetch-Site` must not say that it was another site. What is no browser names nothing.
   */
  assertAllowed(request: IncomingMessage, self: Self): void
  /** Whether it would throw; with `isOriginRequired` also for who names none. */
  isAllowed(request: IncomingMessage, self: Self, options: { isOriginRequired: boolean }): boolean
}

/** What the caller takes us for. */
export type Self = { host: string | undefined; isSecure: boolean }

export function createPageOrigins(publicOrigins: readonly string[]): PageOrigins {
  const isAllowed: PageOrigins['isAllowed'] = ({ headers }, self, { isOriginRequired }) => {
    const { origin } = headers
    if (origin !== undefined) return origin === originOf(self) || publicOrigins.includes(origin)
    const site = headers['sec-fetch-site']
    return !isOriginRequired && (site === undefined || site === 'same-origin' || site === 'none')
  }

  return {
    isAllowed,
    assertAllowed(request, self) {
      if (isAllowed(request, self, { isOriginRequired: false })) return
      throw new ForbiddenError('Pages of this origin may not use the session in your cookies.', {
        details: { reason: 'ORIGIN' },
        suggestions: [
          'Add the origin of the page to PUBLIC_ORIGINS.',
          'Behind a proxy that ends TLS, name the proxy in TRUSTED_PROXIES.',
        ],
      })
    },
  }
}

function originOf({ host, isSecure }: Self): string | null {
  return host === undefined ? null : `${isSecure ? 'https' : 'http'}://${host}`
}

/** Whether the name that we were called by can only mean this machine (RFC 6761). */
export function isLocalhost(host: string | undefined): boolean {
  const name = /^(\[[^\]]*\]|[^:]*)(?::\d+)?$/.exec(host ?? '')?.[1]?.toLowerCase() ?? ''
  return name === 'localhost' || name.endsWith('.localhost') || name === '[::1]' || /^127(?:\.\d{1,3}){3}$/.test(name)
}
