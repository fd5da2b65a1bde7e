import { createAccounts, type Accounts, type AccountsDeps } from '../../../src/features/accounts/accounts.ts'
import { openAccessChanges } from '../../../src/features/accounts/access-changes.ts'
import { createAuthThrottle, type AuthThrottle } from '../../../src/features/accounts/auth-throttle.ts'
import type { ClientInfo } from '../../../src/features/accounts/client-info.ts'
import type { Clock } from '../../../src/lib/clock.ts'
import { newId } from '../../../src/lib/ids.ts'
import type { Database } from '../../../src/platform/database/database.ts'
import { createInProcessEvents } from '../../../src/platform/events/in-process.ts'
import { createInProcessThrottles } from '../../../src/platform/throttle/in-process.ts'
import { createLogger } from '../../../src/platform/logger.ts'

export const secret = 'a secret that is long enough for tests'
export const goodPassword = 'violet-otter-canyon-42'

export const client: ClientInfo = { ip: '203.0.113.7', userAgent: 'a test', requestId: 'request-1' }

const silentLogger = createLogger({ level: 'silent' })

/** A clock that goes on only when it is told to. */
export interface ManualClock extends Clock {
  advance(ms: number): void
}

export function manualClock(start = new Date('2026-03-01T12:00:00.000Z')): ManualClock {
  let elapsedMs = 0
  return {
    now: () => new Date(start.getTime() + elapsedMs),
    monotonicMs: () => 1_000 + elapsedMs,
    advance(ms) {
      elapsedMs += ms
    },
  }
}

export type TestAccounts = AsyncDisposable & { accounts: Accounts; clock: ManualClock }

/** The accounts of one process on `db`, with cheap hashes and a clock that stands still. */
export async function startAccounts(db: Database, overrides: Partial<AccountsDeps> = {}): Promise<TestAccounts> {
  const clock = manualClock()
  const changes =
    overrides.changes ?? (await openAccessChanges({ events: createInProcessEvents(), newId, logger: silentLogger }))
  const defaults = { clock, newId, logger: silentLogger, secret, bcryptCost: 4, changes, throttle: newThrottle() }
  const accounts = await createAccounts({ db, ...defaults, firstAdmin: { kind: 'first-account' }, ...overrides })
  return { accounts, clock, [Symbol.asyncDispose]: () => accounts.close() }
}

/** Takes all accounts away, with the audit trail, which refuses that to everybody else. */
export async function emptyAccounts(db: Database): Promise<void> {
  await db.transaction(async (tx) => {
    await tx.$executeRaw`ALTER TABLE audit_event DISABLE TRIGGER audit_event_no_truncate`
    await tx.$executeRaw`TRUNCATE audit_event, app_user, workspace CASCADE`
    await tx.$executeRaw`ALTER TABLE audit_event ENABLE TRIGGER audit_event_no_truncate`
  })
}

let emails = 0

/** Sign-up input that no other test has used. */
export function newAccount(): { email: string; password: string } {
  emails += 1
  return { email: `somebody-${emails}@example.com`, password: goodPassword }
}

/** One that counts for itself, with limits that only the account's own can meet. */
export function newThrottle(): AuthThrottle {
  const limits = { signUpsPerHour: 1_000, logInsPer5Minutes: 1_000, exemptsLoopback: false }
  return createAuthThrottle({ throttles: createInProcessThrottles() }, limits)
}
