import type { User } from '../../generated/prisma/client.ts'
import type { Clock } from '../../lib/clock.ts'
import { BadUserInputError, ConflictError } from '../../lib/errors.ts'
import type { NewId } from '../../lib/ids.ts'
import type { Database } from '../../platform/database/database.ts'
import { recordAudit, type AuditAction, type AuditRecord } from '../audit/audit.ts'
import type { AccessChange, AccessChanges } from './access-changes.ts'
import { authError } from './auth-errors.ts'
import type { AuthThrottle } from './auth-throttle.ts'
import type { ClientInfo } from './client-info.ts'
import { endLiveSessions } from './end-sessions.ts'
import type { Passwords } from './passwords.ts'
import type { SessionViewer } from './viewer.ts'

export type ChangePasswordInput = { currentPassword: string; newPassword: string }

export type ChangePasswordDeps = {
  db: Database
  clock: Clock
  newId: NewId
  passwords: Passwords
  changes: AccessChanges
  throttle: AuthThrottle
}

/**
 * Replaces the password of who knows the present one, and ends all of their other sessions: whoever got in with the old password is out.
 * Throws BadUserInputError naming `input.currentPassword` or `input.newPassword`, RateLimitedError, ServerBusyError.
 */
export function createChangePassword({ db, clock, newId, passwords, changes, throttle }: ChangePasswordDeps) {
  function auditRecord(action: AuditAction, { userId }: SessionViewer, { ip, requestId }: ClientInfo): AuditRecord {
    const subject = { actorId: userId, target: userId, workspaceId: null }
    return { id: newId(), at: clock.now(), action, ...subject, ip, requestId }
  }

  async function requireCurrent(user: User, password: string, record: AuditRecord): Promise<void> {
    if (await passwords.verify(password, user.passwordHash)) return
    await recordAudit(db.prisma, { ...record, details: { reason: 'WRONG_CREDENTIALS' } })
    // Not UNAUTHENTICATED: the session is as good as before, and clients log out on that.
    throw new BadUserInputError('input.currentPassword', 'The current password is wrong.')
  }

  return async (viewer: SessionViewer, input: ChangePasswordInput, client: ClientInfo): Promise<User> => {
    const user = await db.prisma.user.findUnique({ where: { id: viewer.userId } })
    if (user === null) throw authError('SESSION_ENDED')
    const failure = auditRecord('user.password_change_failed', viewer, client)
    const compare = (): Promise<void> => requireCurrent(user, input.currentPassword, failure)
    // With a stolen session one must not be able to guess either.
    await throttle.guarded(user.email, compare, (error) => error instanceof BadUserInputError)
    const passwordHash = await passwords.hash(input.newPassword, user.email, 'input.newPassword')

    const record = auditRecord('user.password_changed', viewer, client)
    const { changedUser, endedIds } = await db.transaction(async (tx) => {
      // Of two who change it at once one is late: what they have proved to know is not the password any more.
      const where = { id: user.id, passwordHash: user.passwordHash }
      const [changed] = await tx.user.updateManyAndReturn({ where, data: { passwordHash } })
      if (changed === undefined) throw changedMeanwhile()
      const others = { userId: user.id, id: { not: viewer.sessionId } }
      const ended = await endLiveSessions(tx, { where: others, at: record.at, reason: 'PASSWORD_CHANGED' })
      await recordAudit(tx, { ...record, details: { endedSessions: ended.length } })
      return { changedUser: changed, endedIds: ended }
    })
    changes.announce(endedIds.map((id): AccessChange => ({ kind: 'session', id })))
    return changedUser
  }
}

function changedMeanwhile(): ConflictError {
  return new ConflictError('The password was changed by somebody else at the same moment.', {
    suggestions: ['Log in again.'],
  })
}
