import { createHash } from 'node:crypto'
import { RateLimitedError } from '../../lib/errors.ts'
import { isLoopback, networkOf } from '../../lib/network.ts'
import type { Throttles } from '../../platform/throttle/throttles.ts'
import { lookupEmail } from './email.ts'

/** Slows down who guesses passwords or makes accounts by the dozen. */
export interface AuthThrottle {
  /** Counts a sign-up of this address. Throws RateLimitedError. */
  signUp(ip: string): Promise<void>
  /** Counts a log-in of this address. Throws RateLimitedError. */
  logIn(ip: string): Promise<void>
  /**
   * Runs what compares the account's password and throws when it is not right. After 5 that were not, the account is locked: RateLimitedError,
   * with the same message for the right password. Accounts that do not exist are locked alike, so that this tells nothing either. What
   * `isWrongPassword` does not say of an error is not held against the account.
   */
  guarded<T>(email: string, compare: () => Promise<T>, isWrongPassword: (error: unknown) => boolean): Promise<T>
}

export type AuthThrottleDeps = { throttles: Throttles }

export type AuthThrottleOptions = {
  /** Of one address (IPv6: one /64). */
  signUpsPerHour: number
  /** Of one address (IPv6: one /64), whether they succeed or not. */
  logInsPer5Minutes: number
  /** Outside production this machine's own addresses are not limited; accounts are. */
  exemptsLoopback: boolean
}

const hourSeconds = 3_600
const accountLock = {
  name: 'log-in-account',
  maxFailures: 5,
  // Each process for itself then: whoever asks several of them gets several times as many.
  maxFailuresWithoutRedis: 2,
  windowSeconds: 15 * 60,
  firstLockSeconds: 30,
  maxLockSeconds: 15 * 60,
}

export function createAuthThrottle(
  { throttles }: AuthThrottleDeps,
  { signUpsPerHour, logInsPer5Minutes, exemptsLoopback }: AuthThrottleOptions,
): AuthThrottle {
  const signUps = throttles.window({
    name: 'sign-up-address',
    points: signUpsPerHour,
    windowSeconds: hourSeconds,
    pointsWithoutRedis: strict(signUpsPerHour),
  })
  const logIns = throttles.window({
    name: 'log-in-address',
    points: logInsPer5Minutes,
    windowSeconds: 5 * 60,
    pointsWithoutRedis: strict(logInsPer5Minutes),
  })
  const passwords = throttles.attempts(accountLock)

  async function take(limit: typeof signUps, ip: string, message: string): Promise<void> {
    if (exemptsLoopback && isLoopback(ip)) return
    const { isAllowed, resetMs } = await limit.take(networkOf(ip))
    if (!isAllowed) throw new RateLimitedError(message, resetMs)
  }

  return {
    signUp: (ip) => take(signUps, ip, 'Too many accounts were made from this address.'),
    logIn: (ip) => take(logIns, ip, 'Too many attempts to log in came from this address.'),
    async guarded(email, compare, isWrongPassword) {
      const attempt = await passwords.begin(accountKey(email))
      if (!attempt.isAllowed) {
        throw new RateLimitedError('Too many attempts to log in to this account have failed.', attempt.resetMs)
      }
      try {
        const result = await compare()
        await attempt.succeeded()
        return result
      } catch (error) {
        if (!isWrongPassword(error)) await attempt.abandoned()
        throw error
      }
    },
  }
}

function strict(points: number): number {
  return Math.max(1, Math.floor(points / 3))
}

/** Redis and its logs are no place for e-mails. */
function accountKey(email: string): string {
  return createHash('sha256')
    .update(lookupEmail(email) ?? email)
    .digest('base64url')
}
