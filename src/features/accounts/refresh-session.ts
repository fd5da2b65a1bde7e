import type { RefreshToken, Session, User } from '../../generated/prisma/client.ts'
import type { Clock } from '../../lib/clock.ts'
import type { NewId } from '../../lib/ids.ts'
import type { Database, Transaction } from '../../platform/database/database.ts'
import { recordAudit } from '../audit/audit.ts'
import type { AccessChanges } from './access-changes.ts'
import { authError, type AuthFailure } from './auth-errors.ts'
import type { ClientInfo } from './client-info.ts'
import type { KeyRows } from './key-rows.ts'
import { idleEnd, type GrantedSession } from './new-session.ts'
import { childRefreshToken, isRefreshTokenShaped, refreshTokenHash } from './refresh-tokens.ts'

/**
 * Exchanges a refresh token for its child. What happens to a token of a session that lives:
 *
 * | the token is                                           | outcome                                        |
 * |--------------------------------------------------------|------------------------------------------------|
 * | unused                                                 | it is used now, and its child is returned      |
 * | unused, but idle for too long                          | EXPIRED                                        |
 * | used ≤ 10 s ago and the parent of the token in use now | the same child again: an answer was lost, or   |
 * |                                                        | two tabs asked at once                         |
 * | used otherwise                                         | somebody has a copy: the session is revoked    |
 */
export type RefreshSession = (token: string, client: ClientInfo) => Promise<GrantedSession>

export type RefreshSessionDeps = {
  db: Database
  clock: Clock
  newId: NewId
  keys: KeyRows
  changes: AccessChanges
}

type Family = { token: RefreshToken; child: RefreshToken | null; session: Session; user: User }
type Outcome =
  | ({ kind: 'refreshed' } & GrantedSession)
  | { kind: 'refused'; reason: AuthFailure }
  | { kind: 'reused'; sessionId: string }

const graceMs = 10_000

export function createRefreshSession(deps: RefreshSessionDeps): RefreshSession {
  const { db, clock, newId, keys, changes } = deps

  async function useToken(tx: Transaction, token: string, family: Family, childId: string): Promise<Outcome> {
    const { user, session } = family
    const now = clock.now()
    const key = keys.current('REFRESH')
    await tx.refreshToken.update({ where: { id: family.token.id }, data: { usedAt: now } })
    const refreshToken = childRefreshToken(token, childId, key)
    await tx.refreshToken.create({
      data: {
        id: childId,
        sessionId: session.id,
        parentId: family.token.id,
        tokenHash: refreshTokenHash(refreshToken),
        keyId: key.id,
        createdAt: now,
        expiresAt: idleEnd(now, session),
      },
    })
    const used = await tx.session.update({ where: { id: session.id }, data: { lastUsedAt: now } })
    return { kind: 'refreshed', user, session: used, refreshToken }
  }

  function repeatChild(token: string, { user, session }: Family, child: RefreshToken): Outcome {
    const key = child.keyId === null ? null : keys.find('REFRESH', child.keyId)
    if (key === null) throw new Error(`The key that minted the refresh token ${child.id} is gone.`)
    return { kind: 'refreshed', user, session, refreshToken: childRefreshToken(token, child.id, key) }
  }

  async function revokeFamily(tx: Transaction, { session, token }: Family, client: ClientInfo): Promise<Outcome> {
    const now = clock.now()
    await tx.session.update({ where: { id: session.id }, data: { revokedAt: now, revokedReason: 'REFRESH_REUSED' } })
    await recordAudit(tx, {
      id: newId(),
      at: now,
      action: 'session.refresh_reused',
      actorId: null,
      target: session.id,
      workspaceId: null,
      ip: client.ip,
      requestId: client.requestId,
      details: { userId: session.userId, refreshTokenId: token.id },
    })
    return { kind: 'reused', sessionId: session.id }
  }

  async function exchange(tx: Transaction, token: string, client: ClientInfo): Promise<Outcome> {
    const family = await lockFamily(tx, refreshTokenHash(token))
    if (family === null) return { kind: 'refused', reason: 'INVALID_TOKEN' }
    const now = clock.now()
    const refusal = refusalOf(family, now)
    if (refusal !== null) return { kind: 'refused', reason: refusal }
    const { usedAt } = family.token
    if (usedAt === null) return useToken(tx, token, family, newId())
    const isInGrace = now.getTime() - usedAt.getTime() <= graceMs
    if (isInGrace && family.child?.usedAt === null) return repeatChild(token, family, family.child)
    return revokeFamily(tx, family, client)
  }

  return async (token, client) => {
    if (!isRefreshTokenShaped(token)) throw authError('INVALID_TOKEN')
    // The refusals are returned, not thrown: what a reuse has revoked must be committed.
    const outcome = await db.transaction((tx) => exchange(tx, token, client))
    switch (outcome.kind) {
      case 'refreshed':
        return outcome
      case 'refused':
        throw authError(outcome.reason)
      case 'reused':
        changes.announce([{ kind: 'session', id: outcome.sessionId }])
        throw authError('REFRESH_REUSED')
    }
  }
}

function refusalOf({ token, session, user }: Family, now: Date): AuthFailure | null {
  if (session.revokedAt !== null || session.expiresAt <= now) return 'SESSION_ENDED'
  if (user.disabled) return 'ACCOUNT_DISABLED'
  return token.usedAt === null && token.expiresAt <= now ? 'EXPIRED' : null
}

/** The token with its session locked: whoever presents a token of the same family waits until this transaction has ended. */
async function lockFamily(tx: Transaction, tokenHash: Uint8Array<ArrayBuffer>): Promise<Family | null> {
  const found = await tx.refreshToken.findUnique({ where: { tokenHash }, select: { sessionId: true } })
  if (found === null) return null
  await tx.$queryRaw`SELECT id FROM session WHERE id = ${found.sessionId}::uuid FOR UPDATE`
  // Read after the lock, in statements of their own: the one before it saw what was there before the wait.
  const token = await tx.refreshToken.findUnique({
    where: { tokenHash },
    include: { child: true, session: { include: { user: true } } },
  })
  if (token === null) return null
  const { child, session, ...row } = token
  const { user, ...sessionRow } = session
  return { token: row, child, session: sessionRow, user }
}
