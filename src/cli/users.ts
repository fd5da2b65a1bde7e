import { createUserProvisioning, type UserProvisioning } from '../features/accounts/user-provisioning.ts'
import { createHashSlots } from '../features/accounts/hash-slots.ts'
import { openKeyRows } from '../features/accounts/key-rows.ts'
import { createPasswordStrength } from '../features/accounts/password-strength.ts'
import { createPasswords } from '../features/accounts/passwords.ts'
import { createUserAdministration } from '../features/accounts/user-administration.ts'
import { systemClock } from '../lib/clock.ts'
import { newId } from '../lib/ids.ts'
import { UsageError, type Command } from './command.ts'
import { withInstallation } from './installation.ts'
import { readSecretFromTerminal, type ReadSecret } from './read-secret.ts'

const usage = [
  'monk users create <e-mail> [--admin]  an account with its personal workspace',
  'monk users set-password <e-mail>      another password; all of their sessions end',
  'monk users promote <e-mail>           makes them an administrator',
  'monk users disable <e-mail>           shuts them out: sessions, sockets, API keys',
  'monk users enable <e-mail>            lets them in again',
  '',
  'Passwords are asked for, or read from standard input: never arguments, which other users of the machine can see.',
]

/** What is to be done, and what is said then. */
type Work = (users: UserProvisioning) => Promise<string>

/** `monk users …`. */
export function createUsersCommand(readSecret: ReadSecret): Command {
  // The password is asked for before anything is opened: people take their time.
  async function planWork(action: string, email: string, flags: readonly string[]): Promise<Work | null> {
    if (action === 'create') return planCreation(email, flags)
    if (flags.length > 0) return null
    if (action === 'set-password') return planNewPassword(email)
    return planned(action, email)
  }

  async function planCreation(email: string, flags: readonly string[]): Promise<Work | null> {
    const isAdmin = flags[0] === '--admin'
    if (flags.length > (isAdmin ? 1 : 0)) return null
    const password = await readSecret('Password: ')
    return async (accounts) => {
      await accounts.create({ email, password, role: isAdmin ? 'ADMIN' : 'USER' })
      return `${email} has an account${isAdmin ? ', as an administrator' : ''}.`
    }
  }

  async function planNewPassword(email: string): Promise<Work> {
    const password = await readSecret('New password: ')
    return async (accounts) => {
      await accounts.setPassword({ email, password })
      return `${email} has a new password, and no sessions any more.`
    }
  }

  return async ({ args, env, output }) => {
    const [action, email, ...flags] = args
    if (action === undefined || email === undefined) throw new UsageError(usage)
    const work = await planWork(action, email, flags)
    if (work === null) throw new UsageError(usage)
    output(await withUsers(env, work))
    output('Running servers notice at once over Redis, and within 30 s without it.')
  }
}

function planned(action: string, email: string): Work | null {
  if (action === 'promote') {
    return async (accounts) => {
      await accounts.promote(email)
      return `${email} is an administrator.`
    }
  }
  if (action !== 'disable' && action !== 'enable') return null
  const disabled = action === 'disable'
  return async (accounts) => {
    await accounts.setDisabled(email, { disabled })
    return `${email} ${disabled ? 'is shut out' : 'may log in again'}.`
  }
}

export const users: Command = createUsersCommand(readSecretFromTerminal)

async function withUsers(env: NodeJS.ProcessEnv, work: Work): Promise<string> {
  return withInstallation(env, async ({ config, db, secret, changes, logger }) => {
    const deps = { db, clock: systemClock, newId, changes }
    const keys = await openKeyRows({ ...deps, secret, logger })
    try {
      const slots = createHashSlots({ maxRunning: 1, maxWaiting: 0, maxWaitMs: 0 })
      const strength = createPasswordStrength()
      const passwords = createPasswords({ keys, slots, strength, bcryptCost: config.bcryptCost })
      const administration = createUserAdministration(deps)
      return await work(createUserProvisioning({ ...deps, passwords, administration }))
    } finally {
      await keys.close()
    }
  })
}
