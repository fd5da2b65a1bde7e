import type { Session, User } from '../../generated/prisma/client.ts'
import type { Clock } from '../../lib/clock.ts'
import type { NewId } from '../../lib/ids.ts'
import type { Transaction } from '../../platform/database/database.ts'
import { storedUserAgent, type ClientInfo } from './client-info.ts'
import { newRefreshToken, refreshTokenHash } from './refresh-tokens.ts'

/** A session without activity ends after this time: its refresh token is not taken any more. */
const idleLifetimeMs = 7 * 24 * 3_600_000
/** A session ends after this time in any case. */
const absoluteLifetimeMs = 30 * 24 * 3_600_000

/** A session to be inserted, with the first token of its family. Made outside the transaction, which may run twice. */
export type NewSession = { row: Session; refreshTokenId: string; refreshToken: string }

/** What somebody gets who has proved who they are. */
export type GrantedSession = { user: User; session: Session; refreshToken: string }

export function newSession(
  userId: string,
  client: ClientInfo,
  { clock, newId }: { clock: Clock; newId: NewId },
): NewSession {
  const now = clock.now()
  const row = {
    id: newId(),
    userId,
    userAgent: storedUserAgent(client.userAgent),
    ip: client.ip,
    createdAt: now,
    lastUsedAt: now,
    expiresAt: new Date(now.getTime() + absoluteLifetimeMs),
    revokedAt: null,
    revokedReason: null,
  }
  return { row, refreshTokenId: newId(), refreshToken: newRefreshToken() }
}

export async function insertSession(tx: Transaction, { row, refreshTokenId, refreshToken }: NewSession): Promise<void> {
  await tx.session.create({ data: row })
  await tx.refreshToken.create({
    data: {
      id: refreshTokenId,
      sessionId: row.id,
      tokenHash: refreshTokenHash(refreshToken),
      createdAt: row.createdAt,
      expiresAt: idleEnd(row.createdAt, row),
    },
  })
}

/** Until when a refresh token that is made now is taken: it never outlives its session. */
export function idleEnd(now: Date, session: { expiresAt: Date }): Date {
  return new Date(Math.min(now.getTime() + idleLifetimeMs, session.expiresAt.getTime()))
}
