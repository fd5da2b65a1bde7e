import {
  Prisma,
  type User,
  type Workspace,
  type WorkspaceMember,
  type WorkspaceRole,
} from '../../generated/prisma/client.ts'
import type { Clock } from '../../lib/clock.ts'
import { ConflictError, NotFoundError } from '../../lib/errors.ts'
import type { NewId } from '../../lib/ids.ts'
import type { Database, Transaction } from '../../platform/database/database.ts'
import type { AccessChanges } from '../accounts/access-changes.ts'
import { lookupEmail } from '../accounts/email.ts'
import type { SessionViewer } from '../accounts/viewer.ts'
import { recordAudit, type AuditAction } from '../audit/audit.ts'
import type { RequestOrigin } from '../audit/request-origin.ts'
import { requireRole, type WorkspaceAccess } from './access.ts'
import { workspacesOf } from './visible-workspaces.ts'
import { lockWorkspace } from './workspace-rows.ts'

/**
 * The people of a workspace; its owners manage them. There is always an OWNER, and whose personal workspace it is stays one of them. All
 * methods throw NotFoundError for what is not the viewer's, ForbiddenError for who is no OWNER, and ConflictError when a rule is in the way.
 * Streams of whose role changes are authorised again within a second.
 */
export interface Members {
  /** Lets somebody in who has an account. Throws NotFoundError for `input.email` when nobody has, or they are disabled. */
  add(viewer: SessionViewer, input: AddMemberInput, origin: RequestOrigin): Promise<WorkspaceMember>
  setRole(
    viewer: SessionViewer,
    input: { id: string; role: WorkspaceRole },
    origin: RequestOrigin,
  ): Promise<WorkspaceMember>
  /** Takes somebody out, with their API keys there; everybody may take out themselves. Returns the workspace. */
  remove(viewer: SessionViewer, memberId: string, origin: RequestOrigin): Promise<Workspace>
}

export type AddMemberInput = { workspaceId: string; email: string; role: WorkspaceRole }

export type MembersDeps = { db: Database; clock: Clock; newId: NewId; access: WorkspaceAccess; changes: AccessChanges }

/** They are listed whole. */
export const maxMembers = 500

export function createMembers({ db, clock, newId, access, changes }: MembersDeps): Members {
  type Act = { action: AuditAction; viewer: SessionViewer; origin: RequestOrigin }
  type Facts = Prisma.InputJsonObject

  async function audit(tx: Transaction, act: Act, member: WorkspaceMember, facts: Facts = {}): Promise<void> {
    const { action, viewer, origin } = act
    const { id: target, workspaceId, userId, role } = member
    const subject = { actorId: viewer.userId, target, workspaceId, details: { userId, role, ...facts } }
    await recordAudit(tx, { id: newId(), at: clock.now(), action, ...subject, ...origin })
  }

  async function findUser(email: string): Promise<User> {
    const known = lookupEmail(email)
    const user = known === null ? null : await db.prisma.user.findUnique({ where: { email: known } })
    if (user !== null && !user.disabled) return user
    throw new NotFoundError('account', {
      details: { field: 'input.email' },
      suggestions: ['Ask them to sign up on this server first.'],
    })
  }

  async function findMember(viewer: SessionViewer, id: string): Promise<WorkspaceMember> {
    const member = await db.prisma.workspaceMember.findFirst({ where: { id, workspace: workspacesOf(viewer) } })
    if (member === null) throw new NotFoundError('member', { details: { field: 'input.id' } })
    return member
  }

  /** With the workspace locked, so that what is read holds until the commit. */
  async function lockedMember(tx: Transaction, { id, workspaceId }: WorkspaceMember): Promise<WorkspaceMember> {
    await lockWorkspace(tx, workspaceId)
    const member = await tx.workspaceMember.findUnique({ where: { id } })
    if (member === null) throw new NotFoundError('member', { details: { field: 'input.id' } })
    return member
  }

  function tell({ userId, workspaceId }: WorkspaceMember): void {
    changes.announce([{ kind: 'member', userId, workspaceId }])
  }

  return {
    async add(viewer, { workspaceId, email, role }, origin) {
      await access.require(viewer, workspaceId, 'OWNER')
      const user = await findUser(email)
      const row = { id: newId(), workspaceId, userId: user.id, role, createdAt: clock.now() }
      const member = await db.transaction(async (tx) => {
        await lockWorkspace(tx, workspaceId)
        await requireOwner(tx, viewer, workspaceId)
        if ((await tx.workspaceMember.count({ where: { workspaceId } })) >= maxMembers) throw tooMany()
        const added = await insertMember(tx, row)
        await audit(tx, { action: 'member.added', viewer, origin }, added)
        return added
      })
      tell(member)
      return member
    },

    async setRole(viewer, { id, role }, origin) {
      const found = await findMember(viewer, id)
      await access.require(viewer, found.workspaceId, 'OWNER')
      const member = await db.transaction(async (tx) => {
        const before = await lockedMember(tx, found)
        await requireOwner(tx, viewer, before.workspaceId)
        if (before.role === role) return before
        if (role !== 'OWNER') await requireAnotherOwner(tx, before)
        const after = await tx.workspaceMember.update({ where: { id }, data: { role } })
        await audit(tx, { action: 'member.role_changed', viewer, origin }, after, { before: before.role })
        return after
      })
      tell(member)
      return member
    },

    async remove(viewer, memberId, origin) {
      const found = await findMember(viewer, memberId)
      const isOneself = found.userId === viewer.userId
      await access.require(viewer, found.workspaceId, isOneself ? 'VIEWER' : 'OWNER')
      const workspace = await db.transaction(async (tx) => {
        const member = await lockedMember(tx, found)
        if (!isOneself) await requireOwner(tx, viewer, member.workspaceId)
        await requireAnotherOwner(tx, member)
        const { workspaceId, userId } = member
        await tx.workspaceMember.delete({ where: { id: member.id } })
        // Or they would be good again as soon as somebody lets them in again.
        const keys = { workspaceId, createdById: userId, revokedAt: null }
        const { count } = await tx.apiKey.updateMany({ where: keys, data: { revokedAt: clock.now() } })
        await audit(tx, { action: 'member.removed', viewer, origin }, member, { revokedApiKeys: count })
        return tx.workspace.findUniqueOrThrow({ where: { id: workspaceId } })
      })
      tell(found)
      return workspace
    },
  }
}

// The constraint decides: two who let the same person in would both find the place free.
async function insertMember(tx: Transaction, row: WorkspaceMember): Promise<WorkspaceMember> {
  try {
    return await tx.workspaceMember.create({ data: row })
  } catch (error) {
    if (error instanceof Prisma.PrismaClientKnownRequestError && error.code === 'P2002') {
      throw new ConflictError('They are a member already.', {
        details: { field: 'input.email' },
        suggestions: ['Change their role with setWorkspaceMemberRole.'],
        cause: error,
      })
    }
    throw error
  }
}

/** Asked again under the lock: of two owners who take each other's role one is late. */
async function requireOwner(tx: Transaction, { userId }: SessionViewer, workspaceId: string): Promise<void> {
  const membership = await tx.workspaceMember.findUnique({ where: { workspaceId_userId: { workspaceId, userId } } })
  requireRole(membership ?? undefined, 'OWNER')
}

async function requireAnotherOwner(tx: Transaction, { workspaceId, userId, role }: WorkspaceMember): Promise<void> {
  const { personalOfId } = await tx.workspace.findUniqueOrThrow({ where: { id: workspaceId } })
  if (personalOfId === userId) throw new ConflictError('Whose personal workspace it is stays its owner.')
  if (role !== 'OWNER') return
  if ((await tx.workspaceMember.count({ where: { workspaceId, role: 'OWNER' } })) > 1) return
  throw new ConflictError('They are the last owner of the workspace.', {
    suggestions: ['Make somebody else OWNER first.'],
  })
}

function tooMany(): ConflictError {
  return new ConflictError(`A workspace has at most ${maxMembers} members.`, { details: { maxMembers } })
}
