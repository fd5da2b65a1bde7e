import { createHmac, timingSafeEqual } from 'node:crypto'
import type { Key } from './key.ts'
import type { KeyRows } from './key-rows.ts'

/** Signs short texts with the server's CSRF key, so that every process knows what another has signed. */
export interface CsrfSignatures {
  /** HMAC-SHA256 of `text` by the current key, in base64url (43 characters). */
  sign(text: string): string
  /**
   * Whether `signature` is ours for exactly this text, by any key that may still verify: one that was rotated away verifies for a
   * week. Compared in constant time.
   */
  isValid(text: string, signature: string): boolean
}

export function createCsrfSignatures({ keys }: { keys: KeyRows }): CsrfSignatures {
  return {
    sign: (text) => signatureBy(keys.current('CSRF'), text).toString('base64url'),
    isValid(text, signature) {
      const presented = Buffer.from(signature, 'base64url')
      // All keys are tried, so that the time does not tell which one fits.
      return keys.usable('CSRF').filter((key) => isSame(signatureBy(key, text), presented)).length > 0
    },
  }
}

function signatureBy({ id, material }: Key, text: string): Buffer {
  if (material.kind !== 'symmetric') throw new Error(`The CSRF key ${id} is not a symmetric key.`)
  return createHmac('sha256', material.bytes).update(text).digest()
}

function isSame(expected: Buffer, presented: Buffer): boolean {
  return expected.length === presented.length && timingSafeEqual(expected, presented)
}
