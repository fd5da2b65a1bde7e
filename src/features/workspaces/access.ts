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
  /** The workspace that the viewer got at sign-up. */
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
      const [membership] = await db.query<Membership>(membershipStatement, [workspaceId, viewer.userId], {
        retry: true,
      })
      if (membership === undefined) throw new NotFoundError('workspace')
      if (ranks[membership.role] < ranks[role]) throw tooSmall(membership.role, role)
      return membership
    },

    async readableWorkspaceId(viewer, workspaceId) {
      if (workspaceId == null) return access.personalWorkspaceId(viewer)
      return (await access.require(viewer, workspaceId, 'VIEWER')).workspaceId
    },

    async personalWorkspaceId(viewer) {
      const [workspace] = await db.query<{ id: string }>(personalStatement, [viewer.userId], { retry: true })
      if (workspace === undefined) throw new NotFoundError('workspace')
      return workspace.id
    },
  }
  return access
}

function tooSmall(role: WorkspaceRole, needed: WorkspaceRole): ForbiddenError {
  return new ForbiddenError(`In this workspace you are ${role}; this needs ${needed}.`, {
    details: { role, needed },
    suggestions: ['Ask an owner of the workspace for a larger role.'],
  })
}
