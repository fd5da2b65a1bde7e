import type { WebSocket } from 'ws'
import type { Client } from '../graphql/context.ts'
import type { Authentication } from './authentication.ts'

/** What is known of a WebSocket beside its messages. */
export type Connection = {
  socket: WebSocket
  client: Client
  /** See CookieTokenOf. */
  readCookieToken: () => string | null
  authentication: Authentication | null
  /** Aborted when the socket is closed, or will be. */
  closed: AbortSignal
  /** Closes the socket, and ends what it reads from at once: the other side may take long to answer, or never. */
  close(code?: number, reason?: string): void
}
