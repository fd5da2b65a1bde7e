import { OperationTypeNode } from 'graphql'
import { AppError } from '../lib/errors.ts'

/** How an operation came in, and so what it may be. */
export type Transport =
  /** HTTP POST by a client that reads one JSON answer. */
  | 'post'
  /** HTTP POST by a client that also reads Server-Sent Events. */
  | 'post-stream'
  /** HTTP GET by an `EventSource`. */
  | 'get-stream'
  | 'websocket'

// What a link on a foreign page may start: nothing that costs money or changes anything.
const fieldsForGet: ReadonlySet<string> = new Set(['taskStream', 'workspaceFeed', 'metrics', 'alerts'])

/** The kind of an operation, and the fields of its root that it asks for. */
export type AskedFor = { operation: OperationTypeNode; fields: readonly string[] }

/** Throws METHOD_NOT_ALLOWED when this operation may not come this way. */
export function assertTransport({ operation, fields }: AskedFor, transport: Transport): void {
  const isSubscription = operation === OperationTypeNode.SUBSCRIPTION
  switch (transport) {
    case 'post':
      if (!isSubscription) return
      throw refused('A subscription answers with a stream.', [
        'Send "Accept: text/event-stream", or subscribe over a WebSocket (graphql-transport-ws).',
      ])
    case 'post-stream':
      return
    case 'get-stream':
      if (isSubscription && fields.every((field) => fieldsForGet.has(field))) return
      throw refused('GET is only for subscriptions without side effects.', ['Send the operation by POST.'])
    case 'websocket':
      if (operation !== OperationTypeNode.MUTATION) return
      throw refused('Mutations are not accepted over a WebSocket.', ['Send the mutation by POST to the same path.'])
  }
}

function refused(message: string, suggestions: readonly string[]): AppError {
  return new AppError('METHOD_NOT_ALLOWED', message, { suggestions })
}
