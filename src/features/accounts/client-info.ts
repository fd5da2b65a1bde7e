/** Where a request came from, as its session and the audit log remember it. */
export type ClientInfo = { ip: string; userAgent: string | null; requestId: string }

const maxUserAgentLength = 512

/** The user agent as it is stored: visible characters only, and not more of them than anybody reads. */
export function storedUserAgent(userAgent: string | null): string | null {
  if (userAgent === null) return null
  return userAgent.slice(0, maxUserAgentLength).replace(/\p{C}/gu, '')
}
