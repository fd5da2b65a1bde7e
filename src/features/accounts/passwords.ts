import bcrypt from 'bcrypt'
import { createHmac } from 'node:crypto'
import { BadUserInputError } from '../../lib/errors.ts'
import type { HashSlots } from './hash-slots.ts'
import type { Key } from './key.ts'
import type { KeyRows } from './key-rows.ts'
import type { PasswordStrength } from './password-strength.ts'

/**
 * Stores and checks passwords as `v1:<pepper id>:bcrypt(base64(HMAC-SHA384(pepper, NFC(password))), cost)`. The HMAC makes
 * every character count (bcrypt alone ignores what comes after 72 bytes, and after a NUL), and makes stolen hashes useless
 * without MONK_SECRET. Its 48 bytes are 64 characters of base64, so they fit.
 */
export interface Passwords {
  /**
   * The value to store for a new password. Throws BadUserInputError naming `field` (default: `input.password`) when it has not 12 to 128
   * characters or is too easy to guess for somebody who knows the e-mail; ServerBusyError when too many hash already.
   */
  hash(password: string, email: string, field?: string): Promise<string>
  /**
   * Whether `password` is the one stored. With `stored` null (no such account) it takes just as long and says no.
   * Throws ServerBusyError when too many hash already.
   */
  verify(password: string, stored: string | null): Promise<boolean>
  /**
   * The value to store instead for a password that was just verified; null when the stored one is as good as a new one: it has the current
   * pepper and cost. Throws ServerBusyError.
   */
  renew(password: string, stored: string): Promise<string | null>
}

export type PasswordsDeps = { keys: KeyRows; slots: HashSlots; strength: PasswordStrength; bcryptCost: number }

const version = 'v1'
const minCodePoints = 12
const maxCodePoints = 128
const requiredScore = 3
// Four UTF-16 units at most become one character of NFC. Normalising is quadratic in the combining marks of a text (200 000 of
// them stop the event loop for 6 s), so what can only be too long is never normalised.
const maxUnits = maxCodePoints * 8

export function createPasswords({ keys, slots, strength, bcryptCost }: PasswordsDeps): Passwords {
  // A real salt and a digest of zeros, which no password has: comparing with it takes as long as with that of an account.
  const unknownAccount = bcrypt.genSaltSync(bcryptCost) + '.'.repeat(31)
  const dummy = (): { pepper: Key; hash: string } => ({ pepper: keys.current('PEPPER'), hash: unknownAccount })

  async function requireStrong(password: string, email: string, field: string): Promise<void> {
    const { score, warning, suggestions } = await strength.estimate(password, knownWords(email))
    if (score >= requiredScore) return
    throw new BadUserInputError(field, warning ?? 'The password is too easy to guess.', {
      details: { score, requiredScore },
      suggestions: suggestions.length > 0 ? suggestions : ['Add more words that are less common.'],
    })
  }

  async function hashed(normalised: string): Promise<string> {
    const pepper = keys.current('PEPPER')
    return `${version}:${pepper.id}:${await bcrypt.hash(pepperedWith(pepper, normalised), bcryptCost)}`
  }

  return {
    async hash(password, email, field = 'input.password') {
      const normalised = requireLength(password, field)
      return slots.run(async () => {
        await requireStrong(normalised, email, field)
        return hashed(normalised)
      })
    },
    async renew(password, stored) {
      const { pepper, hash } = parseStored(stored, keys)
      const isCurrent = pepper.id === keys.current('PEPPER').id && bcrypt.getRounds(hash) >= bcryptCost
      return isCurrent ? null : slots.run(() => hashed(password.normalize('NFC')))
    },
    verify(password, stored) {
      return slots.run(async () => {
        const possible = password.length <= maxUnits
        const { pepper, hash } = stored === null ? dummy() : parseStored(stored, keys)
        const peppered = pepperedWith(pepper, possible ? password.normalize('NFC') : '')
        return (await bcrypt.compare(peppered, hash)) && possible
      })
    },
  }
}

function parseStored(stored: string, keys: KeyRows): { pepper: Key; hash: string } {
  const [foundVersion, pepperId, hash] = stored.split(':')
  const pepper = pepperId === undefined ? null : keys.find('PEPPER', pepperId)
  if (foundVersion !== version || hash === undefined || pepper === null) {
    throw new Error('A stored password names a format or a pepper that this program does not have.')
  }
  return { pepper, hash }
}

function pepperedWith(pepper: Key, password: string): string {
  if (pepper.material.kind !== 'symmetric') throw new Error(`The pepper ${pepper.id} is not a symmetric key.`)
  return createHmac('sha384', pepper.material.bytes).update(password).digest('base64')
}

/** Returns the password as NFC. */
function requireLength(password: string, field: string): string {
  // Half a surrogate pair has no UTF-8: all of them would be the same password.
  if (/\p{Surrogate}/u.test(password)) {
    throw new BadUserInputError(field, 'The password is not valid Unicode.', {
      suggestions: ['Type it instead of pasting it.'],
    })
  }
  if (password.length > maxUnits) throw wrongLength(field, 'Shorten it.')
  const normalised = password.normalize('NFC')
  const codePoints = [...normalised].length
  if (codePoints < minCodePoints)
    throw wrongLength(field, 'A few uncommon words are easy to remember and hard to guess.')
  if (codePoints > maxCodePoints) throw wrongLength(field, 'Shorten it.')
  return normalised
}

function wrongLength(field: string, suggestion: string): BadUserInputError {
  return new BadUserInputError(field, `The password must have ${minCodePoints} to ${maxCodePoints} characters.`, {
    details: { minCharacters: minCodePoints, maxCharacters: maxCodePoints },
    suggestions: [suggestion],
  })
}

function knownWords(email: string): string[] {
  return [email, ...email.split(/[^\p{L}\p{N}]+/u).filter((word) => word.length > 2)]
}
