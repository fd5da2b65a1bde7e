import { timingSafeEqual } from 'node:crypto'
import type { CsrfSignatures } from '../features/accounts/csrf-signatures.ts'
import type { NewId } from '../lib/ids.ts'

export const csrfHeader = 'x-csrf-token'

/**
 * Double submit of a signed token (OWASP, Cross-Site Request Forgery Prevention): `HMAC(key, binding ‖ nonce).nonce`, once in a cookie and once in
 * a header, which only a page of our origin can set. What it is bound to (a session, or an id of nobody) keeps somebody from using a token of
 * their own for another.
 */
export interface CsrfTokens {
  issue(binding: string): string
  /** Whether what came in the header is what came in the cookie, and is a token of ours for this binding. In constant time. */
  isValid(presented: string, cookie: string | undefined, binding: string): boolean
}

const shape = /^([A-Za-z0-9_-]{43})\.([0-9a-f-]{36})$/

export function createCsrfTokens({ csrf, newId }: { csrf: CsrfSignatures; newId: NewId }): CsrfTokens {
  return {
    issue(binding) {
      const nonce = newId()
      return `${csrf.sign(textOf(binding, nonce))}.${nonce}`
    },
    isValid(presented, cookie, binding) {
      const [, signature, nonce] = shape.exec(presented) ?? []
      if (signature === undefined || nonce === undefined || cookie === undefined) return false
      return isSame(presented, cookie) && csrf.isValid(textOf(binding, nonce), signature)
    },
  }
}

// A nonce has a fixed length and no dot, so no two pairs read the same.
function textOf(binding: string, nonce: string): string {
  return `${binding}.${nonce}`
}

function isSame(one: string, other: string): boolean {
  const [a, b] = [Buffer.from(one), Buffer.from(other)]
  return a.length === b.length && timingSafeEqual(a, b)
}
