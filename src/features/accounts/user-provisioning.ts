import { Prisma, type User, type UserRole } from '../../generated/prisma/client.ts'
import type { Clock } from '../../lib/clock.ts'
import { ConflictError, NotFoundError } from '../../lib/errors.ts'
import type { NewId } from '../../lib/ids.ts'
import type { Database, Transaction } from '../../platform/database/database.ts'
import { recordAudit, type AuditAction } from '../audit/audit.ts'
import { unknownOrigin } from '../audit/request-origin.ts'
import { insertWorkspace } from '../workspaces/workspace-rows.ts'
import type { AccessChanges } from './access-changes.ts'
import { lookupEmail, parseNewEmail } from './email.ts'
import { endLiveSessions } from './end-sessions.ts'
import type { Passwords } from './passwords.ts'
import { personalWorkspaceName } from './sign-up.ts'
import type { UserAdministration } from './user-administration.ts'

/**
 * Accounts as whoever has a shell on the server manages them: by e-mail, and without a session. Methods throw NotFoundError for an e-mail that
 * nobody has, and BadUserInputError for a password that is too weak. Each writes its audit event, with nobody as the actor.
 */
export interface UserProvisioning {
  /** Makes an account with its personal workspace. Throws ConflictError when the e-mail is taken. */
  create(account: { email: string; password: string; role: UserRole }): Promise<User>
  /** Replaces the password, and ends all sessions. */
  setPassword(account: { email: string; password: string }): Promise<User>
  /** Makes the account ADMIN. */
  promote(email: string): Promise<User>
  /** See UserAdministration. */
  setDisabled(email: string, options: { disabled: boolean }): Promise<User>
}

export type UserProvisioningDeps = {
  db: Database
  clock: Clock
  newId: NewId
  passwords: Passwords
  administration: UserAdministration
  changes: AccessChanges
}

export function createUserProvisioning(deps: UserProvisioningDeps): UserProvisioning {
  const { db, clock, newId, passwords, administration, changes } = deps

  async function audit(tx: Transaction, action: AuditAction, { id, role }: User): Promise<void> {
    const subject = { actorId: null, target: id, workspaceId: null, details: { role } }
    await recordAudit(tx, { id: newId(), at: clock.now(), action, ...subject, ...unknownOrigin })
  }

  async function findByEmail(email: string): Promise<User> {
    const known = lookupEmail(email)
    const user = known === null ? null : await db.prisma.user.findUnique({ where: { email: known } })
    if (user === null) throw new NotFoundError('account')
    return user
  }

  return {
    async create({ email: given, password, role }) {
      const email = parseNewEmail(given)
      const passwordHash = await passwords.hash(password, email)
      const createdAt = clock.now()
      const user = { id: newId(), email, passwordHash, role, disabled: false, createdAt }
      const workspace = { id: newId(), memberId: newId(), ownerId: user.id, createdAt }
      return db.transaction(async (tx) => {
        const inserted = await insertUser(tx, user)
        await insertWorkspace(tx, { ...workspace, name: personalWorkspaceName, personal: true })
        await audit(tx, 'user.created', inserted)
        return inserted
      })
    },

    async setPassword({ email, password }) {
      const { id, email: known } = await findByEmail(email)
      const passwordHash = await passwords.hash(password, known)
      const user = await db.transaction(async (tx) => {
        const changed = await tx.user.update({ where: { id }, data: { passwordHash } })
        await endLiveSessions(tx, { where: { userId: id }, at: clock.now(), reason: 'PASSWORD_CHANGED' })
        await audit(tx, 'user.password_set', changed)
        return changed
      })
      changes.announce([{ kind: 'user', id }])
      return user
    },

    async promote(email) {
      const { id } = await findByEmail(email)
      return administration.promote(null, id, unknownOrigin)
    },

    async setDisabled(email, { disabled }) {
      const { id } = await findByEmail(email)
      return administration.setDisabled(null, { id, disabled }, unknownOrigin)
    },
  }
}

async function insertUser(tx: Transaction, user: User): Promise<User> {
  try {
    return await tx.user.create({ data: user })
  } catch (error) {
    if (error instanceof Prisma.PrismaClientKnownRequestError && error.code === 'P2002') {
      throw new ConflictError('There is an account with this e-mail already.', { cause: error })
    }
    throw error
  }
}
