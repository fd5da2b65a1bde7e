import type { Workspace } from '../../generated/prisma/client.ts'
import type { Transaction } from '../../platform/database/database.ts'

export type NewWorkspace = {
  id: string
  /** The id of the owner's membership. */
  memberId: string
  ownerId: string
  name: string
  /** Whether it is the one that everybody gets at sign-up; at most one for each user. */
  personal: boolean
  createdAt: Date
}

/**
 * Orders those who change a workspace's people or keys: each counts what the other has left. It does not get in the way of tasks, which only
 * refer to the row.
 */
export async function lockWorkspace(tx: Transaction, workspaceId: string): Promise<void> {
  await tx.$executeRaw`SELECT 1 FROM workspace WHERE id = ${workspaceId}::uuid FOR NO KEY UPDATE`
}

/** Inserts a workspace with everything that it cannot be without: its feed's counter and its owner. */
export async function insertWorkspace(tx: Transaction, workspace: NewWorkspace): Promise<Workspace> {
  const { id, memberId, ownerId, name, personal, createdAt } = workspace
  return tx.workspace.create({
    data: {
      id,
      name,
      personalOfId: personal ? ownerId : null,
      createdAt,
      counter: { create: {} },
      members: { create: { id: memberId, userId: ownerId, role: 'OWNER', createdAt } },
    },
  })
}
