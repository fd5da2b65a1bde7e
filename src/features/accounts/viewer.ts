import { UnauthenticatedError } from '../../lib/errors.ts'

/** Who asks: an authenticated user in a session. */
export type Viewer = {
  userId: string
  sessionId: string
  role: 'ADMIN' | 'USER'
}

/** The viewer, where there has to be one. Throws UnauthenticatedError. */
export function requireViewer(viewer: Viewer | null): Viewer {
  if (viewer === null) throw new UnauthenticatedError()
  return viewer
}
