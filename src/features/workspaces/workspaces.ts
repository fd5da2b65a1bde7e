import { z } from 'zod'
import type { Workspace } from '../../generated/prisma/client.ts'
import type { Clock } from '../../lib/clock.ts'
import type { NewId } from '../../lib/ids.ts'
import { parseInput } from '../../lib/parse-input.ts'
import { nameText } from '../../lib/stored-text.ts'
import type { Database } from '../../platform/database/database.ts'
import type { Viewer } from '../accounts/viewer.ts'
import { recordAudit } from '../audit/audit.ts'
import { unknownOrigin, type RequestOrigin } from '../audit/request-origin.ts'
import type { WorkspaceAccess } from './access.ts'
import { insertWorkspace } from './workspace-rows.ts'

export interface Workspaces {
  /** Who may do what in them. */
  readonly access: WorkspaceAccess
  /** Makes a workspace that the viewer owns. Throws BadUserInputError. */
  create(viewer: Viewer, input: { name: string }, origin?: RequestOrigin): Promise<Workspace>
  /** Renames it; for owners. Throws NotFoundError, ForbiddenError, BadUserInputError. */
  update(viewer: Viewer, input: { id: string; name: string }, origin?: RequestOrigin): Promise<Workspace>
}

export type WorkspacesDeps = { db: Database; clock: Clock; newId: NewId; access: WorkspaceAccess }

const maxNameLength = 100
const workspaceInput = z.object({ name: nameText(maxNameLength) })

export function createWorkspaces({ db, clock, newId, access }: WorkspacesDeps): Workspaces {
  return {
    access,

    async create(viewer, input, origin = unknownOrigin) {
      const { name } = parseInput(workspaceInput, input)
      const ownerId = viewer.userId
      const row = { id: newId(), memberId: newId(), ownerId, name, personal: false, createdAt: clock.now() }
      const auditId = newId()
      return db.transaction(async (tx) => {
        const workspace = await insertWorkspace(tx, row)
        await recordAudit(tx, {
          id: auditId,
          at: row.createdAt,
          action: 'workspace.created',
          actorId: ownerId,
          workspaceId: row.id,
          target: row.id,
          ...origin,
        })
        return workspace
      })
    },

    async update(viewer, input, origin = unknownOrigin) {
      await access.require(viewer, input.id, 'OWNER')
      const { name } = parseInput(workspaceInput, input)
      const auditId = newId()
      return db.transaction(async (tx) => {
        const workspace = await tx.workspace.update({ where: { id: input.id }, data: { name } })
        await recordAudit(tx, {
          id: auditId,
          at: clock.now(),
          action: 'workspace.updated',
          actorId: viewer.userId,
          workspaceId: workspace.id,
          target: workspace.id,
          ...origin,
        })
        return workspace
      })
    },
  }
}
