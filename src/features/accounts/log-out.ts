import type { Clock } from '../../lib/clock.ts'
import type { NewId } from '../../lib/ids.ts'
import type { Database } from '../../platform/database/database.ts'
import { recordAudit } from '../audit/audit.ts'
import type { ClientInfo } from './client-info.ts'
import type { SessionCheck } from './session-check.ts'
import type { SessionViewer } from './viewer.ts'

export type LogOutDeps = { db: Database; clock: Clock; newId: NewId; sessionCheck: SessionCheck }

/** Ends the viewer's session. */
export function createLogOut({ db, clock, newId, sessionCheck }: LogOutDeps) {
  return async ({ userId, sessionId }: SessionViewer, client: ClientInfo): Promise<void> => {
    const at = clock.now()
    const auditId = newId()
    await db.transaction(async (tx) => {
      const { count } = await tx.session.updateMany({
        where: { id: sessionId, revokedAt: null },
        data: { revokedAt: at, revokedReason: 'LOGGED_OUT' },
      })
      // Another request was faster: it has told already.
      if (count === 0) return
      await recordAudit(tx, {
        id: auditId,
        at,
        action: 'user.logged_out',
        actorId: userId,
        target: userId,
        workspaceId: null,
        ip: client.ip,
        requestId: client.requestId,
        details: { sessionId },
      })
    })
    sessionCheck.ended(sessionId)
  }
}
