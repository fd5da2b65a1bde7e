import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { isRecord } from './json-value.ts'

/** Tells when a request goes out over a connection, which fetch itself does not. */
export interface ConnectionWatch {
  /**
   * Calls `onSent` when the request with this `X-Client-Request-Id` header is written to a connection that stands (TCP,
   * and TLS where there is some). Returns what ends the watch.
   */
  watch(requestId: string, onSent: () => void): () => void
}

/** A header that OpenAI logs and others ignore; here it also says which call a message on the channel is about. */
export const requestIdHeader = 'x-client-request-id'

/**
 * Node's fetch announces each request on a diagnostics channel as it writes the headers. Nothing else tells a server
 * that cannot be reached from one that thinks: many send their headers with the first token. Should a fetch announce
 * nothing, the headers of the response count as the connection.
 */
export function createConnectionWatch(): ConnectionWatch {
  const channel = 'undici:client:sendHeaders'
  const watched = new Map<string, () => void>()

  function hear(message: unknown): void {
    const headers = isRecord(message) ? message['headers'] : undefined
    if (typeof headers !== 'string') return
    const requestId = /^x-client-request-id: (\S+)/im.exec(headers)?.[1]
    if (requestId !== undefined) watched.get(requestId)?.()
  }

  return {
    watch(requestId, onSent) {
      if (watched.size === 0) subscribe(channel, hear)
      watched.set(requestId, onSent)
      return () => {
        if (watched.delete(requestId) && watched.size === 0) unsubscribe(channel, hear)
      }
    },
  }
}
