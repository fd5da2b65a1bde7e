import { createHash, timingSafeEqual } from 'node:crypto'
import type { UserRole } from '../../generated/prisma/client.ts'
import type { Transaction } from '../../platform/database/database.ts'

/**
 * Who becomes the administrator of a fresh server. `first-account`: whoever signs up first. `token`: whoever presents this
 * token (null: nobody) while there is no administrator; not only the very first account, or a stranger who is faster would
 * shut the owner out.
 */
export type FirstAdminPolicy = { kind: 'first-account' } | { kind: 'token'; token: string | null }

/** The role of an account that is about to be inserted in `tx`. The lock it may take orders those who sign up at once. */
export async function decideRole(
  tx: Transaction,
  policy: FirstAdminPolicy,
  presentedToken: string | null,
): Promise<UserRole> {
  switch (policy.kind) {
    case 'first-account': {
      // Only the first few sign-ups of a server's life ever wait for each other.
      if (await hasAccount(tx)) return 'USER'
      await lockAdmins(tx)
      return (await hasAccount(tx)) ? 'USER' : 'ADMIN'
    }
    case 'token': {
      if (!isSameToken(policy.token, presentedToken)) return 'USER'
      await lockAdmins(tx)
      return (await hasAdmin(tx)) ? 'USER' : 'ADMIN'
    }
  }
}

/** Orders those who decide who is an administrator. */
export async function lockAdmins(tx: Transaction): Promise<void> {
  await tx.$executeRaw`SELECT pg_advisory_xact_lock(hashtextextended('monk: first admin', 0))`
}

async function hasAccount(tx: Transaction): Promise<boolean> {
  return (await tx.user.findFirst({ select: { id: true } })) !== null
}

async function hasAdmin(tx: Transaction): Promise<boolean> {
  return (await tx.user.findFirst({ where: { role: 'ADMIN' }, select: { id: true } })) !== null
}

// In constant time, whatever the lengths: digests are equally long.
function isSameToken(expected: string | null, presented: string | null): boolean {
  if (expected === null || presented === null) return false
  return timingSafeEqual(digest(expected), digest(presented))
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}
