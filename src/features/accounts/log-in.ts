import type { User } from '../../generated/prisma/client.ts'
import type { Clock } from '../../lib/clock.ts'
import type { NewId } from '../../lib/ids.ts'
import type { Database } from '../../platform/database/database.ts'
import { recordAudit } from '../audit/audit.ts'
import { authError, isWrongCredentials, type AuthFailure } from './auth-errors.ts'
import type { AuthThrottle } from './auth-throttle.ts'
import type { ClientInfo } from './client-info.ts'
import { lookupEmail } from './email.ts'
import { insertSession, newSession, type GrantedSession } from './new-session.ts'
import { createPasswordRenewal } from './password-renewal.ts'
import type { Passwords } from './passwords.ts'

export type LogInInput = { email: string; password: string }

export type LogInDeps = { db: Database; clock: Clock; newId: NewId; passwords: Passwords; throttle: AuthThrottle }

/** Opens a session for who knows the password. */
export function createLogIn({ db, clock, newId, passwords, throttle }: LogInDeps) {
  const renewPassword = createPasswordRenewal({ db, passwords })

  async function recordFailure(user: User | null, reason: AuthFailure, client: ClientInfo): Promise<void> {
    await recordAudit(db.prisma, {
      id: newId(),
      at: clock.now(),
      action: 'user.log_in_failed',
      // Nobody has proved to be anybody.
      actorId: null,
      target: user?.id ?? null,
      workspaceId: null,
      ip: client.ip,
      requestId: client.requestId,
      details: { reason },
    })
  }

  // What an unknown e-mail costs and answers must not differ from what a wrong password costs and answers.
  async function requireUser({ email, password }: LogInInput, client: ClientInfo): Promise<User> {
    const known = lookupEmail(email)
    const user = known === null ? null : await db.prisma.user.findUnique({ where: { email: known } })
    const isRight = await passwords.verify(password, user?.passwordHash ?? null)
    if (user === null || !isRight) {
      await recordFailure(user, 'WRONG_CREDENTIALS', client)
      throw authError('WRONG_CREDENTIALS')
    }
    if (user.disabled) {
      await recordFailure(user, 'ACCOUNT_DISABLED', client)
      throw authError('ACCOUNT_DISABLED')
    }
    return user
  }

  return async (input: LogInInput, client: ClientInfo): Promise<GrantedSession> => {
    await throttle.logIn(client.ip)
    const user = await throttle.guarded(input.email, () => requireUser(input, client), isWrongCredentials)
    await renewPassword(user, input.password)
    const session = newSession(user.id, client, { clock, newId })
    const auditId = newId()
    await db.transaction(async (tx) => {
      await insertSession(tx, session)
      await recordAudit(tx, {
        id: auditId,
        at: session.row.createdAt,
        action: 'user.logged_in',
        actorId: user.id,
        target: user.id,
        workspaceId: null,
        ip: client.ip,
        requestId: client.requestId,
        details: { sessionId: session.row.id },
      })
    })
    return { user, session: session.row, refreshToken: session.refreshToken }
  }
}
