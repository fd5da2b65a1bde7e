import type { Viewer } from '../features/accounts/viewer.ts'
import type { RequestOrigin } from '../features/audit/request-origin.ts'
import { UnauthenticatedError } from '../lib/errors.ts'
import type { GraphQLContext } from './context.ts'

/** The viewer of a field that is for signed-in callers. Every root field is, unless it says otherwise. */
export function signedIn({ viewer }: Pick<GraphQLContext, 'viewer'>): Viewer {
  if (viewer === null) throw new UnauthenticatedError()
  return viewer
}

/** Where the operation came from, as services record it. */
export function originOf({ client, requestId }: GraphQLContext): RequestOrigin {
  return { ip: client.ip, requestId }
}
