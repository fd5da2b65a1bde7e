import type { Session } from '../../generated/prisma/client.ts'
import type { Clock } from '../../lib/clock.ts'
import { NotFoundError } from '../../lib/errors.ts'
import type { NewId } from '../../lib/ids.ts'
import type { Database } from '../../platform/database/database.ts'
import { recordAudit, type AuditAction, type AuditRecord } from '../audit/audit.ts'
import type { AccessChange, AccessChanges } from './access-changes.ts'
import type { ClientInfo } from './client-info.ts'
import { endLiveSessions } from './end-sessions.ts'
import type { SessionViewer } from './viewer.ts'

/**
 * Ending sessions. This process refuses their tokens and closes their sockets before the call resolves, others within a second. An audit
 * event is written in the same transaction, once, also when several end the same session at the same moment.
 */
export interface Sessions {
  /** Ends the viewer's own session. */
  logOut(viewer: SessionViewer, client: ClientInfo): Promise<void>
  /** Ends one of the viewer's sessions and returns it; one that has ended stays as it is. Throws NotFoundError. */
  revoke(viewer: SessionViewer, sessionId: string, client: ClientInfo): Promise<Session>
  /** Ends all of the viewer's sessions but the one that asks; returns how many. */
  revokeOthers(viewer: SessionViewer, client: ClientInfo): Promise<number>
}

export type SessionsDeps = { db: Database; clock: Clock; newId: NewId; changes: AccessChanges }

export function createSessions({ db, clock, newId, changes }: SessionsDeps): Sessions {
  type Act = { action: AuditAction; viewer: SessionViewer; client: ClientInfo }

  function auditRecord({ action, viewer, client }: Act): Omit<AuditRecord, 'target' | 'details'> {
    const { ip, requestId } = client
    return { id: newId(), at: clock.now(), action, actorId: viewer.userId, workspaceId: null, ip, requestId }
  }

  async function endOne(act: Act, sessionId: string, reason: string): Promise<void> {
    const { userId } = act.viewer
    const record = auditRecord(act)
    await db.transaction(async (tx) => {
      const ended = await endLiveSessions(tx, { where: { id: sessionId, userId }, at: record.at, reason })
      // Another request was faster: it has told already.
      if (ended.length === 0) return
      await recordAudit(tx, { ...record, target: userId, details: { sessionId } })
    })
    changes.announce([{ kind: 'session', id: sessionId }])
  }

  return {
    async logOut(viewer, client) {
      await endOne({ action: 'user.logged_out', viewer, client }, viewer.sessionId, 'LOGGED_OUT')
    },

    async revoke(viewer, sessionId, client) {
      const where = { id: sessionId, userId: viewer.userId }
      if ((await db.prisma.session.findUnique({ where })) === null) throw new NotFoundError('session')
      await endOne({ action: 'session.revoked', viewer, client }, sessionId, 'REVOKED')
      return db.prisma.session.findUniqueOrThrow({ where })
    },

    async revokeOthers(viewer, client) {
      const record = auditRecord({ action: 'session.others_revoked', viewer, client })
      const where = { userId: viewer.userId, id: { not: viewer.sessionId } }
      const ended = await db.transaction(async (tx) => {
        const ids = await endLiveSessions(tx, { where, at: record.at, reason: 'REVOKED' })
        if (ids.length > 0) await recordAudit(tx, { ...record, target: viewer.userId, details: { count: ids.length } })
        return ids
      })
      changes.announce(ended.map((id): AccessChange => ({ kind: 'session', id })))
      return ended.length
    },
  }
}
