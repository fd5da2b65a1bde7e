import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { isRecord } from './json-value.ts'

/** Tells when a request goes out over a connection, which fetch itself does not. */
export interface ConnectionWatch {
  /**
   * Calls `onSent` when the request with this `X-Client-Request-Id` header is written to a connection that stands (TCP,
   * and TLS where there is some). Returns what ends the watch.
   */
  watch(requestId: string, onSent: () => void): () => void
  /** Hears nothing more. */
  close(): void
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
  let isListening = false

  function hear(message: unknown): void {
    const headers = isRecord(message) ? message['headers'] : undefined
    if (typeof headers !== 'string') return
    const requestId = requestIdIn(headers)
    if (requestId !== null) watched.get(requestId)?.()
  }

  return {
    watch(requestId, onSent) {
      // From the first call on: a channel that is switched on and off with every call costs 20 µs each time.
      if (!isListening) subscribe(channel, hear)
      isListening = true
      watched.set(requestId, onSent)
      return () => void watched.delete(requestId)
    },
    close() {
      if (isListening) unsubscribe(channel, hear)
      isListening = false
      watched.clear()
    },
  }
}

/** Of the lines "name: value", by name; the SDK writes names in small letters, and so does fetch. */
function requestIdIn(headers: string): string | null {
  const name = `\r\n${requestIdHeader}: `
  const at = headers.indexOf(name)
  if (at === -1) return null
  const start = at + name.length
  const end = headers.indexOf('\r\n', start)
  return headers.slice(start, end === -1 ? undefined : end)
}
