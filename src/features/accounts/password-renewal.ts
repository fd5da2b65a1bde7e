import type { User } from '../../generated/prisma/client.ts'
import { ServerBusyError } from '../../lib/errors.ts'
import type { Database } from '../../platform/database/database.ts'
import type { Passwords } from './passwords.ts'

/**
 * Stores the password of somebody who has just proved to know it under the current pepper and cost, when it is not yet. So a pepper that was
 * rotated away is used less with every log-in. When the server has other things to hash, the next log-in will do.
 */
export function createPasswordRenewal({ db, passwords }: { db: Database; passwords: Passwords }) {
  return async ({ id, passwordHash }: User, password: string): Promise<void> => {
    try {
      const renewed = await passwords.renew(password, passwordHash)
      // Unless it was changed in the meantime.
      if (renewed !== null)
        await db.prisma.user.updateMany({ where: { id, passwordHash }, data: { passwordHash: renewed } })
    } catch (error) {
      if (!(error instanceof ServerBusyError)) throw error
    }
  }
}
