import type { UnauthenticatedError } from '../lib/errors.ts'

/** Mutations that prove who somebody is. */
export const credentialFields: ReadonlySet<string> = new Set(['signUp', 'logIn', 'refreshSession', 'changePassword'])

// What somebody needs whose credentials have just expired.
const fieldsForNewCredentials: ReadonlySet<string> = new Set(['signUp', 'logIn', 'refreshSession', 'csrfToken'])

/**
 * Wrong or expired credentials refuse the whole operation, also what needs none: the caller believes to be somebody, and must learn at once
 * that it is not so. Only what leads to new ones is let through; `fields` are those that the operation asks for, null when it cannot be read.
 * Throws `error`.
 */
export function assertCredentials(fields: readonly string[] | null, error: UnauthenticatedError | null): void {
  if (error === null || fields?.every((field) => fieldsForNewCredentials.has(field)) === true) return
  throw error
}
