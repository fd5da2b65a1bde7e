import type { SubscribePayload } from 'graphql-ws'
import { formatError } from '../graphql/error-format.ts'
import type { Operations, PreparedOperation } from '../graphql/operations.ts'
import type { Clock } from '../lib/clock.ts'
import { AppError } from '../lib/errors.ts'
import type { NewId } from '../lib/ids.ts'
import type { Logger } from '../platform/logger.ts'
import { documentHashOf } from './body.ts'
import type { Connection } from './socket-connection.ts'

export type PrepareDeps = { operations: Operations; clock: Clock; logger: Logger; newId: NewId }

/** Prepares what a `subscribe` message asks for; `running` are the operations of its socket, this one included. */
export type Prepare = (payload: SubscribePayload, connection: Connection, running: number) => Promise<PreparedOperation>

/** The same checks in the same order as over HTTP; what refuses an operation is an `error` message, and the socket lives. */
export function createPrepare(
  { operations, clock, logger, newId }: PrepareDeps,
  { maxSubscriptions }: { maxSubscriptions: number },
): Prepare {
  return async ({ query, operationName = null, variables, extensions }, connection, running) => {
    const { client, authentication, closed } = connection
    const requestId = newId()
    const viewer = authentication?.viewer ?? null
    try {
      await operations.admit({ viewer, client })
      if (running > maxSubscriptions) throw tooManySubscriptions(maxSubscriptions)
      const request = {
        query,
        documentHash: documentHashOf(null, extensions ?? {}),
        operationName,
        variables: variables ?? {},
      }
      return await operations.prepare(request, { requestId, viewer, client, transport: 'websocket', signal: closed })
    } catch (error) {
      return { kind: 'refused', errors: [formatError(error, { requestId, now: clock.now(), logger })] }
    }
  }
}

function tooManySubscriptions(maximum: number): AppError {
  return new AppError('RATE_LIMITED', `A socket may have at most ${maximum} subscriptions at once.`, {
    details: { limit: 'subscriptions', maximum },
    suggestions: ['Complete one before you begin another, or open a second socket.'],
  })
}
