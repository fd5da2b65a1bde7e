import type { Prisma } from '../../generated/prisma/client.ts'
import type { Viewer } from './viewer.ts'

/** The user with this id, when it is the viewer or shares a workspace with them. */
export function visibleUser(id: string, { userId }: Viewer): Prisma.UserWhereUniqueInput {
  const sharesWorkspace = { memberships: { some: { workspace: { members: { some: { userId } } } } } }
  return { id, OR: [{ id: userId }, sharesWorkspace] }
}

/** Sessions that can still be used, the newest first. */
export function liveSessions(now: Date): {
  where: Prisma.SessionWhereInput
  orderBy: Prisma.SessionOrderByWithRelationInput[]
} {
  const canBeRefreshed = { refreshTokens: { some: { usedAt: null, expiresAt: { gt: now } } } }
  return {
    where: { revokedAt: null, expiresAt: { gt: now }, ...canBeRefreshed },
    orderBy: [{ createdAt: 'desc' }, { id: 'desc' }],
  }
}
