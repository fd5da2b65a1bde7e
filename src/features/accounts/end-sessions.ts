import type { Prisma } from '../../generated/prisma/client.ts'
import type { Transaction } from '../../platform/database/database.ts'
import { liveSessions } from './visible-rows.ts'

/** Ends those of the sessions that can still be used, and returns their ids. Announce them after the commit. */
export async function endLiveSessions(
  tx: Transaction,
  { where, at, reason }: { where: Prisma.SessionWhereInput; at: Date; reason: string },
): Promise<string[]> {
  const ended = await tx.session.updateManyAndReturn({
    where: { AND: [where, liveSessions(at).where] },
    data: { revokedAt: at, revokedReason: reason },
    select: { id: true },
  })
  return ended.map(({ id }) => id)
}
