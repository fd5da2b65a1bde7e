import type { Prisma } from '../../generated/prisma/client.ts'
import type { Viewer } from '../accounts/viewer.ts'

/**
 * The workspaces that the viewer may see: those they are in, and for an API key only its own. Every read of what belongs to a workspace is
 * narrowed down by it: `where: { id, workspace: workspacesOf(viewer) }`.
 */
export function workspacesOf({ userId, apiKey }: Viewer): Prisma.WorkspaceWhereInput {
  const isMember = { members: { some: { userId } } }
  return apiKey === undefined ? isMember : { ...isMember, id: apiKey.workspaceId }
}

/** The workspace that is meant when none is named: the personal one; for an API key, its own. */
export function defaultWorkspaceOf({ userId, apiKey }: Viewer): Prisma.WorkspaceWhereInput {
  return apiKey === undefined ? { personalOfId: userId } : { id: apiKey.workspaceId }
}
