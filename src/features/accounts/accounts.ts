import type { JSONWebKeySet } from 'jose'
import { availableParallelism } from 'node:os'
import type { Session, User } from '../../generated/prisma/client.ts'
import type { Clock } from '../../lib/clock.ts'
import type { NewId } from '../../lib/ids.ts'
import type { Database } from '../../platform/database/database.ts'
import type { Logger } from '../../platform/logger.ts'
import type { AccessChanges } from './access-changes.ts'
import { createApiKeyCheck } from './api-key-check.ts'
import { looksLikeApiKey } from './api-key-tokens.ts'
import { createAccessTokens } from './access-tokens.ts'
import { authError } from './auth-errors.ts'
import type { AuthThrottle } from './auth-throttle.ts'
import { createChangePassword, type ChangePasswordInput } from './change-password.ts'
import type { ClientInfo } from './client-info.ts'
import { createCsrfSignatures, type CsrfSignatures } from './csrf-signatures.ts'
import type { FirstAdminPolicy } from './first-admin.ts'
import { createHashSlots } from './hash-slots.ts'
import type { KeyTimings } from './key-rotation.ts'
import { openKeyRows } from './key-rows.ts'
import { createLiveViewers } from './live-viewers.ts'
import { createLogIn, type LogInInput } from './log-in.ts'
import type { GrantedSession } from './new-session.ts'
import { createPasswordStrength } from './password-strength.ts'
import { createPasswords } from './passwords.ts'
import { createRefreshSession } from './refresh-session.ts'
import { createSessionCheck } from './session-check.ts'
import { createSessions, type Sessions } from './sessions.ts'
import { createSignUp, type SignUpInput } from './sign-up.ts'
import type { SessionViewer, Viewer } from './viewer.ts'
import { liveSessions } from './visible-rows.ts'

/**
 * Accounts, sessions and their tokens. Every UnauthenticatedError has an AuthFailure in `details.reason`.
 */
export interface Accounts extends Sessions {
  /**
   * Makes an account with its personal workspace, and logs it in. Throws BadUserInputError for `input.email` and
   * `input.password`, ConflictError when the e-mail is taken, RateLimitedError, ServerBusyError.
   */
  signUp(input: SignUpInput, client: ClientInfo): Promise<SessionTokens>
  /**
   * Opens a session. Throws UnauthenticatedError (the same for an unknown e-mail and a wrong password), RateLimitedError (also for the right
   * password, after too many wrong ones), ServerBusyError.
   */
  logIn(input: LogInInput, client: ClientInfo): Promise<SessionTokens>
  /** Exchanges a refresh token for the next one; see RefreshSession. Throws UnauthenticatedError. */
  refreshSession(refreshToken: string, client: ClientInfo): Promise<SessionTokens>
  /** Replaces the password and ends all other sessions; see createChangePassword. */
  changePassword(viewer: SessionViewer, input: ChangePasswordInput, client: ClientInfo): Promise<User>
  /**
   * Who presents this access token or API key, and until when it is good (null: it does not end by itself). Throws UnauthenticatedError when it or its session is not
   * valid (any more).
   */
  authenticate(token: string): Promise<{ viewer: Viewer; expiresAt: Date | null }>
  /**
   * Calls `onRefused` once when a viewer who stays connected is not let in any more: within 1 s of what ended it, on any process. Call what
   * it returns when they have gone.
   */
  watch(viewer: Viewer, onRefused: () => void): () => void
  /** The viewer's own row. */
  viewerUser(viewer: Viewer): Promise<User>
  /** The viewer's sessions that live, the newest first. */
  sessions(viewer: Viewer): Promise<Session[]>
  /** Signs what the double submit of cookie mode compares. */
  readonly csrf: CsrfSignatures
  /** The document of `/.well-known/jwks.json`. */
  jwks(): Promise<JSONWebKeySet>
  /** Stops reading the keys. */
  close(): Promise<void>
}

/** A session that was opened or goes on. The tokens are shown here once. */
export type SessionTokens = {
  user: User
  sessionId: string
  accessToken: string
  accessTokenExpiresAt: Date
  refreshToken: string
}

export type AccountsDeps = {
  db: Database
  clock: Clock
  newId: NewId
  logger: Logger
  /** MONK_SECRET. */
  secret: string
  /** At least 12, but for tests. */
  bcryptCost: number
  firstAdmin: FirstAdminPolicy
  changes: AccessChanges
  /** Default: defaultKeyTimings. */
  keyTimings?: KeyTimings | undefined
  /** How often live viewers are looked at again without a message. Default 30 s. */
  sweepEveryMs?: number | undefined
  throttle: AuthThrottle
}

// At cost 12 a hash takes a quarter of a second: who would wait longer than this is better told to come back.
const maxWaitingHashes = 64
const maxHashWaitMs = 4_000
const defaultSweepEveryMs = 30_000

/**
 * Reads the keys (and makes them, on a fresh database); close the returned service. Throws WrongSecretError when the keys
 * were encrypted with another secret.
 */
export async function createAccounts(deps: AccountsDeps): Promise<Accounts> {
  const { db, clock, newId, logger, bcryptCost, changes, throttle, sweepEveryMs = defaultSweepEveryMs } = deps
  const keys = await openKeyRows({ ...deps, timings: deps.keyTimings })
  const slots = createHashSlots({
    maxRunning: Math.max(1, availableParallelism() - 1),
    maxWaiting: maxWaitingHashes,
    maxWaitMs: maxHashWaitMs,
  })
  const passwords = createPasswords({ keys, slots, strength: createPasswordStrength(), bcryptCost })
  const accessTokens = createAccessTokens({ keys, clock, newId })
  const sessionCheck = createSessionCheck({ db, clock, changes })
  const apiKeyCheck = createApiKeyCheck({ db, clock, changes, logger })
  const liveViewers = createLiveViewers({
    changes,
    logger,
    sweepEveryMs,
    recheck,
    async refresh(viewers) {
      await sessionCheck.refresh(viewers.flatMap(({ sessionId }) => sessionId ?? []))
      await apiKeyCheck.refresh(viewers.flatMap(({ apiKey }) => apiKey ?? []))
    },
  })
  const signUp = createSignUp({ ...deps, passwords })
  const logIn = createLogIn({ db, clock, newId, passwords, throttle })
  const refreshSession = createRefreshSession({ db, clock, newId, keys, changes })

  async function recheck({ userId, sessionId, apiKey }: Viewer): Promise<Viewer> {
    if (apiKey !== undefined) return apiKeyCheck.require(apiKey)
    if (sessionId === null) throw authError('INVALID_TOKEN')
    return sessionCheck.require({ userId, sessionId })
  }

  async function withAccessToken({ user, session, refreshToken }: GrantedSession): Promise<SessionTokens> {
    const { token, expiresAt } = await accessTokens.issue(session)
    return { user, sessionId: session.id, accessToken: token, accessTokenExpiresAt: expiresAt, refreshToken }
  }

  return {
    async signUp(input, client) {
      return withAccessToken(await signUp(input, client))
    },
    async logIn(input, client) {
      return withAccessToken(await logIn(input, client))
    },
    async refreshSession(refreshToken, client) {
      return withAccessToken(await refreshSession(refreshToken, client))
    },
    ...createSessions({ db, clock, newId, changes }),
    changePassword: createChangePassword({ db, clock, newId, passwords, changes, throttle }),
    async authenticate(token) {
      if (looksLikeApiKey(token)) return apiKeyCheck.authenticate(token)
      const { expiresAt, ...session } = await accessTokens.verify(token)
      return { viewer: await sessionCheck.require(session), expiresAt }
    },
    async viewerUser({ userId }) {
      const user = await db.prisma.user.findUnique({ where: { id: userId } })
      if (user === null) throw authError('SESSION_ENDED')
      return user
    },
    async sessions({ userId }) {
      const { where, orderBy } = liveSessions(clock.now())
      return db.prisma.session.findMany({ where: { ...where, userId }, orderBy })
    },
    csrf: createCsrfSignatures({ keys }),
    jwks: () => accessTokens.jwks(),
    watch: (viewer, onRefused) => liveViewers.watch(viewer, onRefused),
    async close() {
      liveViewers.close()
      await keys.close()
    },
  }
}
