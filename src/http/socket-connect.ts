import { CloseCode } from 'graphql-ws'
import type { Viewer } from '../features/accounts/viewer.ts'
import type { Operations } from '../graphql/operations.ts'
import type { Clock } from '../lib/clock.ts'
import { AppError } from '../lib/errors.ts'
import { atTime } from './at-time.ts'
import type { Authenticate, Watch } from './authentication.ts'
import type { LiveConnections } from './live-connections.ts'
import type { Connection } from './socket-connection.ts'
import { identifySocket } from './socket-identity.ts'

export type ConnectDeps = {
  operations: Pick<Operations, 'admit'>
  authenticate: Authenticate
  watch: Watch
  live: LiveConnections
  clock: Clock
}

/**
 * Answers `connection_init`. False closes with 4403, after which clients may come back with a fresh token; throws AppError when there is too
 * much already.
 */
export function createConnect({ operations, authenticate, watch, live, clock }: ConnectDeps) {
  return async (params: Record<string, unknown> | undefined, extra: Connection): Promise<boolean> => {
    const { authentication, credentialsError } = await identifySocket(params, extra.readCookieToken, authenticate)
    const asker = { viewer: authentication?.viewer ?? null, client: extra.client }
    await operations.admit(asker)
    if (credentialsError !== null) return false
    const leave = live.enter(asker)
    if (leave === null) throw new AppError('RATE_LIMITED', 'There are too many sockets.')
    if (extra.closed.aborted) leave()
    extra.socket.once('close', leave)
    if (authentication === null) return true
    extra.authentication = authentication
    closeWhenRefused(watch, authentication.viewer, extra)
    closeAt(authentication.expiresAt, clock.now(), extra)
    return true
  }
}

function closeAt(time: Date | null, now: Date, connection: Connection): void {
  if (time === null) return
  const cancel = atTime(time, now, () => connection.close(CloseCode.Forbidden, 'Token expired'))
  connection.socket.once('close', cancel)
}

/** With the same code as for an expired token: clients come back, and are refused unless they have a new session by then. */
function closeWhenRefused(watch: Watch, viewer: Viewer, connection: Connection): void {
  if (connection.closed.aborted) return
  const unwatch = watch(viewer, () => connection.close(CloseCode.Forbidden, 'Session ended'))
  connection.socket.once('close', unwatch)
}
