import { LRUCache } from 'lru-cache'
import type { Clock } from '../../lib/clock.ts'
import type { Database, Statement } from '../../platform/database/database.ts'
import { authError } from './auth-errors.ts'
import type { Viewer } from './viewer.ts'

/** Says on every request whether a session still lives. */
export interface SessionCheck {
  /**
   * The viewer of a session that lives and belongs to the user. Throws UnauthenticatedError with the reason SESSION_ENDED or
   * ACCOUNT_DISABLED. What the database says is believed for 30 s.
   */
  require(session: { sessionId: string; userId: string }): Promise<Viewer>
  /** This process has just ended the session (and committed that): it is refused from now on. */
  ended(sessionId: string): void
}

type SessionRow = { userId: string; role: Viewer['role']; disabled: boolean; expiresAt: Date; revokedAt: Date | null }
type SessionState = SessionRow | 'ended'

const believedForMs = 30_000
const maxSessions = 10_000

const sessionStatement: Statement = {
  name: 'session_check',
  text: `SELECT s.user_id AS "userId", u.role, u.disabled, s.expires_at AS "expiresAt", s.revoked_at AS "revokedAt"
           FROM session s JOIN app_user u ON u.id = s.user_id
          WHERE s.id = $1`,
}

export function createSessionCheck({ db, clock }: { db: Database; clock: Clock }): SessionCheck {
  const states = new LRUCache<string, SessionState>({
    max: maxSessions,
    ttl: believedForMs,
    ttlResolution: 0,
    perf: { now: () => clock.monotonicMs() },
  })

  async function read(sessionId: string): Promise<SessionState> {
    const [row] = await db.query<SessionRow>(sessionStatement, [sessionId], { retry: true })
    const state = row === undefined || row.revokedAt !== null ? 'ended' : row
    // While we read, this process may have ended the session: what it knows then is newer than what we read.
    if (states.get(sessionId) !== 'ended') states.set(sessionId, state)
    return states.get(sessionId) ?? state
  }

  return {
    async require({ sessionId, userId }) {
      const state = states.get(sessionId) ?? (await read(sessionId))
      if (state === 'ended' || state.userId !== userId || state.expiresAt <= clock.now()) {
        throw authError('SESSION_ENDED')
      }
      if (state.disabled) throw authError('ACCOUNT_DISABLED')
      return { userId, sessionId, role: state.role }
    },
    ended(sessionId) {
      states.set(sessionId, 'ended')
    },
  }
}
