import type { Prisma } from '../../generated/prisma/client.ts'
import { workspacesOf } from '../workspaces/visible-workspaces.ts'
import type { Viewer } from './viewer.ts'

/** The user with this id, when it is the viewer or shares a workspace with them. */
export function visibleUser(id: string, viewer: Viewer): Prisma.UserWhereUniqueInput {
  return { id, ...isVisible(viewer) }
}

/** Those of the users with these ids who are the viewer or share a workspace with them. */
export function visibleUsers(ids: string[], viewer: Viewer): Prisma.UserWhereInput {
  return { id: { in: ids }, ...isVisible(viewer) }
}

/** The session with this id, when it is one of the viewer's; an API key has none. */
export function visibleSession(id: string, { userId, apiKey }: Viewer): Prisma.SessionWhereUniqueInput {
  return apiKey === undefined ? { id, userId } : { id, userId: { in: [] } }
}

/** The viewer's sessions that can still be used, the newest first; an API key, and nobody, have none. */
export function sessionsOf(viewer: Viewer | null, now: Date): ReturnType<typeof liveSessions> {
  const { where, orderBy } = liveSessions(now)
  return { where: viewer !== null && viewer.apiKey === undefined ? where : { ...where, id: { in: [] } }, orderBy }
}

function isVisible(viewer: Viewer) {
  return { OR: [{ id: viewer.userId }, { memberships: { some: { workspace: workspacesOf(viewer) } } }] }
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

/** The API keys of the viewer's workspaces that were not revoked; a key sees itself only. */
export function visibleApiKeys(viewer: Viewer): Prisma.ApiKeyWhereInput {
  const live = { revokedAt: null, workspace: workspacesOf(viewer) }
  return viewer.apiKey === undefined ? live : { ...live, id: viewer.apiKey.id }
}
