import type { WorkspaceRole } from '../../generated/prisma/client.ts'
import { ForbiddenError, NotFoundError } from '../../lib/errors.ts'
import type { Database, Statement } from '../../platform/database/database.ts'
import type { Viewer } from '../accounts/viewer.ts'

/** What somebody is in a workspace. */
export type Membership = { id: string; workspaceId: string; userId: string; role: WorkspaceRole }

/** Decides who may do what in a workspace: VIEWER reads, MEMBER works, OWNER manages. */
export interface WorkspaceAccess {
  /**
   * Returns the viewer's membership when its role is `role` or more. One indexed query, never remembered: a role taken away is
   * gone at once. Throws NotFoundError for a workspace that does not exist or is not the viewer's, ForbiddenError for too small
   * a role.
   */
  require(viewer: Viewer, workspaceId: string, role: WorkspaceRole): Promise<Membership>
  /**
   * Returns the id of the workspace that the viewer names, or of their personal one when they name none, once they are known to be
   * at least VIEWER of it. Throws NotFoundError.
   */
  readableWorkspaceId(viewer: Viewer, workspaceId: string | null | undefined): Promise<string>
  /** The workspace that is meant when none is named: the personal one, which everybody gets at sign-up; for an API key, its own. */
  personalWorkspaceId(viewer: Viewer): Promise<string>
}

const ranks: Record<WorkspaceRole, number> = { VIEWER: 0, MEMBER: 1, OWNER: 2 }

const membershipStatement: Statement = {
  name: 'workspace_membership',
  text: `SELECT id, workspace_id AS "workspaceId", user_id AS "userId", role
           FROM workspace_member WHERE workspace_id = $1 AND user_id = $2`,
}

const personalStatement: Statement = {
  name: 'workspace_personal',
  text: 'SELECT id FROM workspace WHERE personal_of_id = $1',
}

export function createWorkspaceAccess({ db }: { db: Database }): WorkspaceAccess {
  const access: WorkspaceAccess = {
    async require(viewer, workspaceId, role) {
      const { apiKey } = viewer
      if (apiKey !== undefined && apiKey.workspaceId !== workspaceId) throw new NotFoundError('workspace')
      const [membership] = await db.query<Membership>(membershipStatement, [workspaceId, viewer.userId], {
        retry: true,
      })
      return requireRole(membership, role)
    },

    async readableWorkspaceId(viewer, workspaceId) {
      const id = workspaceId ?? (await access.personalWorkspaceId(viewer))
      // Nobody can be taken out of their personal workspace, but the maker of a key out of the key's.
      if (workspaceId == null && viewer.apiKey === undefined) return id
      return (await access.require(viewer, id, 'VIEWER')).workspaceId
    },

    async personalWorkspaceId(viewer) {
      if (viewer.apiKey !== undefined) return viewer.apiKey.workspaceId
      const [workspace] = await db.query<{ id: string }>(personalStatement, [viewer.userId], { retry: true })
      if (workspace === undefined) throw new NotFoundError('workspace')
      return workspace.id
    },
  }
  return access
}

/** The membership, when there is one and its role is `role` or more. Throws NotFoundError, ForbiddenError. */
export function requireRole<Found extends { role: WorkspaceRole }>(
  membership: Found | undefined,
  role: WorkspaceRole,
): Found {
  if (membership === undefined) throw new NotFoundError('workspace')
  if (ranks[membership.role] < ranks[role]) throw tooSmall(membership.role, role)
  return membership
}

function tooSmall(role: WorkspaceRole, needed: WorkspaceRole): ForbiddenError {
  return new ForbiddenError(`In this workspace you are ${role}; this needs ${needed}.`, {
    details: { role, needed },
    suggestions: ['Ask an owner of the workspace for a larger role.'],
  })
}
