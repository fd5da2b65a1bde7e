import type { Clock } from '../../lib/clock.ts'
import type { Database, Statement } from '../../platform/database/database.ts'
import type { AccessChanges } from './access-changes.ts'
import { authError } from './auth-errors.ts'
import { createRecentRows } from './recent-rows.ts'
import type { SessionViewer } from './viewer.ts'

/** Says on every request whether a session still lives. */
export interface SessionCheck {
  /**
   * The viewer of a session that lives and belongs to the user. Throws UnauthenticatedError with the reason SESSION_ENDED or
   * ACCOUNT_DISABLED. What the database says is believed for 30 s; a change that is announced ends that at once.
   */
  require(session: { sessionId: string; userId: string }): Promise<SessionViewer>
  /** Reads these sessions again, in one statement. */
  refresh(sessionIds: readonly string[]): Promise<void>
}

type SessionRow = {
  id: string
  userId: string
  role: SessionViewer['role']
  disabled: boolean
  expiresAt: Date
  revokedAt: Date | null
}

const sessionsStatement: Statement = {
  name: 'session_check',
  text: `SELECT s.id, s.user_id AS "userId", u.role, u.disabled, s.expires_at AS "expiresAt", s.revoked_at AS "revokedAt"
           FROM session s JOIN app_user u ON u.id = s.user_id
          WHERE s.id = ANY ($1::uuid[])`,
}

export type SessionCheckDeps = { db: Database; clock: Clock; changes: AccessChanges }

export function createSessionCheck({ db, clock, changes }: SessionCheckDeps): SessionCheck {
  const sessions = createRecentRows<SessionRow>({
    clock,
    async read(ids) {
      const rows = await db.query<SessionRow>(sessionsStatement, [ids], { retry: true })
      return new Map(rows.map((row) => [row.id, row]))
    },
  })

  changes.onChange((change) => {
    if (change.kind === 'session') sessions.forget(({ id }) => id === change.id)
    if (change.kind === 'user') sessions.forget(({ userId }) => userId === change.id)
  })

  return {
    async require({ sessionId, userId }) {
      const session = await sessions.get(sessionId)
      const lives = session !== null && session.revokedAt === null && session.expiresAt > clock.now()
      if (!lives || session.userId !== userId) throw authError('SESSION_ENDED')
      if (session.disabled) throw authError('ACCOUNT_DISABLED')
      return { userId, sessionId, role: session.role }
    },
    refresh: (sessionIds) => sessions.refresh(sessionIds),
  }
}
