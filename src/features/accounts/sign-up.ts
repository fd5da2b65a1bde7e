import { Prisma, type User } from '../../generated/prisma/client.ts'
import type { Clock } from '../../lib/clock.ts'
import { ConflictError } from '../../lib/errors.ts'
import type { NewId } from '../../lib/ids.ts'
import type { Database, Transaction } from '../../platform/database/database.ts'
import { recordAudit } from '../audit/audit.ts'
import { insertWorkspace } from '../workspaces/workspace-rows.ts'
import type { AuthThrottle } from './auth-throttle.ts'
import type { ClientInfo } from './client-info.ts'
import { parseNewEmail } from './email.ts'
import { decideRole, type FirstAdminPolicy } from './first-admin.ts'
import { insertSession, newSession, type GrantedSession } from './new-session.ts'
import type { Passwords } from './passwords.ts'

export type SignUpInput = {
  email: string
  password: string
  /** Makes the account ADMIN where the server asks for a token. */
  bootstrapToken?: string | null | undefined
}

export type SignUpDeps = {
  db: Database
  clock: Clock
  newId: NewId
  passwords: Passwords
  firstAdmin: FirstAdminPolicy
  throttle: AuthThrottle
}

export const personalWorkspaceName = 'Personal'

/** Makes an account, its personal workspace and its first session: all or nothing. */
export function createSignUp({ db, clock, newId, passwords, firstAdmin, throttle }: SignUpDeps) {
  return async (input: SignUpInput, client: ClientInfo): Promise<GrantedSession> => {
    const email = parseNewEmail(input.email)
    await throttle.signUp(client.ip)
    const passwordHash = await passwords.hash(input.password, email)
    const createdAt = clock.now()
    const account = { id: newId(), email, passwordHash, disabled: false, createdAt }
    const session = newSession(account.id, client, { clock, newId })
    const workspace = { id: newId(), memberId: newId(), ownerId: account.id, createdAt }
    const auditId = newId()

    const user = await db.transaction(async (tx) => {
      const role = await decideRole(tx, firstAdmin, input.bootstrapToken ?? null)
      const inserted = await insertUser(tx, { ...account, role })
      await insertWorkspace(tx, { ...workspace, name: personalWorkspaceName, personal: true })
      await insertSession(tx, session)
      await recordAudit(tx, {
        id: auditId,
        at: createdAt,
        action: 'user.signed_up',
        actorId: account.id,
        target: account.id,
        workspaceId: null,
        ip: client.ip,
        requestId: client.requestId,
        details: { role, sessionId: session.row.id },
      })
      return inserted
    })
    return { user, session: session.row, refreshToken: session.refreshToken }
  }
}

// The constraint decides, not a look beforehand: two sign-ups at once would both find the e-mail free.
async function insertUser(tx: Transaction, user: User): Promise<User> {
  try {
    return await tx.user.create({ data: user })
  } catch (error) {
    if (error instanceof Prisma.PrismaClientKnownRequestError && error.code === 'P2002') {
      throw new ConflictError('There is an account with this e-mail already.', {
        details: { field: 'input.email' },
        suggestions: ['Log in with the logIn mutation.'],
        cause: error,
      })
    }
    throw error
  }
}
