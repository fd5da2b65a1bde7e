import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Client } from '../graphql/context.ts'

/** One request and its answer, with what every route needs to know of them. */
export type Exchange = {
  request: IncomingMessage
  response: ServerResponse
  /** Path without the query string. */
  path: string
  requestId: string
  client: Client
  /** Whether the caller's connection is encrypted, as far as a proxy that we trust says so. */
  isSecure: boolean
  /** Aborted when the connection closes before the answer is complete. */
  signal: AbortSignal
}

/** The path of a request, as it was sent: it is compared with known paths and never decoded. */
export function pathOf({ url = '/' }: IncomingMessage): string {
  const [path = '/'] = url.split('?', 1)
  return path
}
