import { UnauthenticatedError } from '../../lib/errors.ts'

/** Why somebody is not let in; shown as `details.reason`, so that a program can react to it. */
export type AuthFailure =
  | 'WRONG_CREDENTIALS'
  | 'INVALID_TOKEN'
  | 'EXPIRED'
  | 'SESSION_ENDED'
  | 'ACCOUNT_DISABLED'
  | 'REFRESH_REUSED'
  | 'INVALID_API_KEY'
  | 'API_KEY_EXPIRED'

type Explanation = { message: string; suggestions: readonly string[] }

const logInAgain = 'Log in again with the logIn mutation.'

const explanations: Record<AuthFailure, Explanation> = {
  WRONG_CREDENTIALS: {
    message: 'The e-mail or the password is wrong.',
    suggestions: ['Check both, and that the account exists on this server.'],
  },
  INVALID_TOKEN: {
    message: 'The token is not valid here.',
    suggestions: [logInAgain, 'Send the access token as "Authorization: Bearer <token>", unchanged.'],
  },
  EXPIRED: {
    message: 'The token has expired.',
    suggestions: ['Get a new one with the refreshSession mutation.', logInAgain],
  },
  SESSION_ENDED: { message: 'The session has ended.', suggestions: [logInAgain] },
  ACCOUNT_DISABLED: { message: 'The account is disabled.', suggestions: ['Ask an administrator of this server.'] },
  INVALID_API_KEY: {
    message: 'The API key is not valid (any more).',
    suggestions: ['Check that it is whole, and that it was neither revoked nor rotated.'],
  },
  API_KEY_EXPIRED: {
    message: 'The API key has expired.',
    suggestions: ['Make a new one with the createApiKey mutation.'],
  },
  REFRESH_REUSED: {
    message: 'The refresh token had been used before, so its session was ended.',
    suggestions: [logInAgain, 'Keep only the newest refresh token, and refresh in one place at a time.'],
  },
}

/** The error for `reason`, with what the caller can do about it. Never contains what was presented. */
export function authError(reason: AuthFailure, cause?: unknown): UnauthenticatedError {
  const { message, suggestions } = explanations[reason]
  return new UnauthenticatedError(message, { details: { reason }, suggestions, cause })
}

/** Whether the error is that of a wrong password or an unknown e-mail. */
export function isWrongCredentials(error: unknown): boolean {
  return error instanceof UnauthenticatedError && error.details['reason'] === 'WRONG_CREDENTIALS'
}
