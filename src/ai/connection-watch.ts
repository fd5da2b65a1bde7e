/** Tells when a request goes out over a connection, which no `fetch` tells who calls it. */
export interface ConnectionWatch {
  /**
   * Calls `onSent` when the request with this `X-Client-Request-Id` header is written to a connection that stands (TCP,
   * and TLS where there is some). Returns what ends the watch.
   */
  watch(requestId: string, onSent: () => void): () => void
  /** A request with these headers is being written. */
  sent(headers: Headers): void
}

/** A header that OpenAI logs and others ignore; here it also says which call a request belongs to. */
export const requestIdHeader = 'x-client-request-id'

/**
 * Nothing else tells a server that cannot be reached from one that thinks: many send their headers with the first token. Should a fetch tell nothing,
 * the headers of the response count as the connection.
 */
export function createConnectionWatch(): ConnectionWatch {
  const watched = new Map<string, () => void>()

  return {
    watch(requestId, onSent) {
      watched.set(requestId, onSent)
      return () => void watched.delete(requestId)
    },
    sent(headers) {
      const requestId = headers.get(requestIdHeader)
      if (requestId !== null) watched.get(requestId)?.()
    },
  }
}
