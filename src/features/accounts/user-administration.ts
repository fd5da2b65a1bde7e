import type { User, UserRole } from '../../generated/prisma/client.ts'
import type { Clock } from '../../lib/clock.ts'
import { ConflictError, ForbiddenError, NotFoundError } from '../../lib/errors.ts'
import type { NewId } from '../../lib/ids.ts'
import { toPage, type Page, type PageRequest } from '../../lib/keyset-page.ts'
import type { Database, Transaction } from '../../platform/database/database.ts'
import { recordAudit, type AuditAction } from '../audit/audit.ts'
import type { RequestOrigin } from '../audit/request-origin.ts'
import type { AccessChanges } from './access-changes.ts'
import { endLiveSessions } from './end-sessions.ts'
import { lockAdmins } from './first-admin.ts'

/** Who acts: an administrator, or null for whoever has a shell on the server. */
export type Administrator = { userId: string } | null

/**
 * What administrators do to accounts. Each method writes its audit event in the same transaction, and is felt on every process within a
 * second: sessions are refused, sockets and event streams closed, API keys refused.
 */
export interface UserAdministration {
  /** All accounts, the newest first. */
  page(request: PageRequest): Promise<Page<User>>
  /**
   * Shuts an account out, or lets it in again (its sessions stay ended, its API keys are good again). Throws NotFoundError; ForbiddenError for
   * oneself; ConflictError for the last administrator.
   */
  setDisabled(by: Administrator, input: { id: string; disabled: boolean }, origin: RequestOrigin): Promise<User>
  /** Makes an account ADMIN. Throws NotFoundError. */
  promote(by: Administrator, userId: string, origin: RequestOrigin): Promise<User>
}

export type UserAdministrationDeps = { db: Database; clock: Clock; newId: NewId; changes: AccessChanges }

export function createUserAdministration(deps: UserAdministrationDeps): UserAdministration {
  const { db, clock, newId, changes } = deps

  type Act = { action: AuditAction; by: Administrator; origin: RequestOrigin }

  async function audit(tx: Transaction, { action, by, origin }: Act, { id: target }: User): Promise<void> {
    const subject = { actorId: by?.userId ?? null, target, workspaceId: null }
    await recordAudit(tx, { id: newId(), at: clock.now(), action, ...subject, ...origin })
  }

  return {
    async page(request) {
      const { limit, position } = request
      const where = position === null ? {} : { id: { lt: position.id } }
      // Ids are UUIDv7: their order is that of the sign-ups.
      const users = await db.prisma.user.findMany({ where, orderBy: { id: 'desc' }, take: limit + 1 })
      return toPage(users, request)
    },

    async setDisabled(by, { id, disabled }, origin) {
      if (by?.userId === id) throw new ForbiddenError('You cannot disable or enable your own account.')
      const user = await db.transaction(async (tx) => {
        await lockAdmins(tx)
        const before = await tx.user.findUnique({ where: { id } })
        if (before === null) throw noSuchUser()
        if (before.disabled === disabled) return before
        if (disabled) await requireAnotherAdmin(tx, before)
        const after = await tx.user.update({ where: { id }, data: { disabled } })
        if (disabled) await endLiveSessions(tx, { where: { userId: id }, at: clock.now(), reason: 'USER_DISABLED' })
        await audit(tx, { action: disabled ? 'user.disabled' : 'user.enabled', by, origin }, after)
        return after
      })
      changes.announce([{ kind: 'user', id }])
      return user
    },

    async promote(by, id, origin) {
      const role: UserRole = 'ADMIN'
      const user = await db.transaction(async (tx) => {
        await lockAdmins(tx)
        const before = await tx.user.findUnique({ where: { id } })
        if (before === null) throw noSuchUser()
        if (before.role === role) return before
        const after = await tx.user.update({ where: { id }, data: { role } })
        await audit(tx, { action: 'user.promoted', by, origin }, after)
        return after
      })
      changes.announce([{ kind: 'user', id }])
      return user
    },
  }
}

// Under the lock: of two administrators who disable each other one is late.
async function requireAnotherAdmin(tx: Transaction, { id, role }: User): Promise<void> {
  if (role !== 'ADMIN') return
  if ((await tx.user.count({ where: { role: 'ADMIN', disabled: false, id: { not: id } } })) > 0) return
  throw new ConflictError('This is the last administrator.', {
    suggestions: ['Make somebody else an administrator first: monk users promote <e-mail>.'],
  })
}

function noSuchUser(): NotFoundError {
  return new NotFoundError('user', { details: { field: 'input.id' } })
}
