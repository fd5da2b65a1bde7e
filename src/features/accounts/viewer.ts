import type { ApiScope } from '../../generated/prisma/client.ts'
import { ForbiddenError, UnauthenticatedError } from '../../lib/errors.ts'

/** Who asks: an authenticated user in a session, or an API key that acts for its maker. */
export type Viewer = {
  userId: string
  /** Null for an API key. */
  sessionId: string | null
  /** What they may do on this server; an API key is never more than USER. */
  role: 'ADMIN' | 'USER'
  /** Present for an API key: what narrows it down. Ask `workspacesOf` or WorkspaceAccess for the workspaces of a viewer. */
  apiKey?: ApiKeyGrant
}

/** What an API key is good for: one workspace, and there no more than its scopes and than its maker may do. */
export type ApiKeyGrant = { id: string; prefix: string; workspaceId: string; scopes: readonly ApiScope[] }

export type ApiKeyViewer = Viewer & { apiKey: ApiKeyGrant }

/** A viewer in a session of their own. */
export type SessionViewer = Viewer & { sessionId: string }

/** The viewer, where there has to be one. Throws UnauthenticatedError. */
export function requireViewer(viewer: Viewer | null): Viewer {
  if (viewer === null) throw new UnauthenticatedError()
  return viewer
}

/** The viewer, where it has to be a person and not an API key. Throws UnauthenticatedError, ForbiddenError. */
export function requireSession(viewer: Viewer | null): SessionViewer {
  const { sessionId, ...rest } = requireViewer(viewer)
  if (sessionId !== null) return { ...rest, sessionId }
  throw new ForbiddenError('An API key cannot do this.', { suggestions: ['Log in, and send the access token.'] })
}
