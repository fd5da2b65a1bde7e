import { BadUserInputError } from '../../lib/errors.ts'

const maxLength = 254
const maxLocalLength = 64
const localPart = /^[^\s@"(),:;<>[\\\]]+$/u
const domainLabel = /^(?!-)[\p{L}\p{N}-]{1,63}(?<!-)$/u
// Control, format, private-use and unassigned characters and lone surrogates: invisible, or not text.
const notText = /\p{C}/u

/**
 * One spelling for one address: NFC, trimmed, lower case. Null when it is far too long for one: normalising is quadratic in
 * the combining marks of a text, 200 000 of them stop the event loop for 6 s.
 */
function normaliseEmail(email: string): string | null {
  if (email.length > 4 * maxLength) return null
  return email.normalize('NFC').trim().toLowerCase()
}

/** The e-mail to look an account up by; null when no account can have it. */
export function lookupEmail(email: string): string | null {
  const normalised = normaliseEmail(email)
  return normalised === null || notText.test(normalised) ? null : normalised
}

/**
 * The normalised e-mail of a new account. Throws BadUserInputError naming `input.email` when it cannot be an address. Only
 * the shape is checked (RFC 5321 lengths, RFC 6531 characters); whether anybody reads it, only a message would tell.
 */
export function parseNewEmail(email: string): string {
  const normalised = normaliseEmail(email)
  if (normalised === null || normalised.length > maxLength) throw tooLong()
  if (!hasShape(normalised)) {
    throw new BadUserInputError('input.email', 'This is not an e-mail address.', {
      suggestions: ['Write it like name@example.com.'],
    })
  }
  return normalised
}

function hasShape(email: string): boolean {
  if (notText.test(email)) return false
  const [local, domain, ...rest] = email.split('@')
  if (local === undefined || domain === undefined || rest.length > 0) return false
  if (local.length > maxLocalLength || !localPart.test(local)) return false
  if (local.startsWith('.') || local.endsWith('.') || local.includes('..')) return false
  const labels = domain.split('.')
  return labels.length >= 2 && labels.every((label) => domainLabel.test(label))
}

function tooLong(): BadUserInputError {
  return new BadUserInputError('input.email', `An e-mail address has at most ${maxLength} characters.`)
}
