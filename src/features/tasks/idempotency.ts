import { createHash } from 'node:crypto'
import { canonicalJson } from '../../lib/canonical-json.ts'
import { ConflictError } from '../../lib/errors.ts'

/** What says whether two requests under one idempotency key are the same: SHA-256 of the canonical input, hexadecimal. */
export function requestHash(input: object): string {
  return createHash('sha256').update(canonicalJson(input)).digest('hex')
}

/** A stored hash in the form of `requestHash`; empty when there is none. */
export function hexOf(hash: Uint8Array | null): string {
  return Buffer.from(hash ?? []).toString('hex')
}

export function keyReusedError(): ConflictError {
  return new ConflictError('The idempotency key was used for something else.', {
    details: { field: 'input.idempotencyKey' },
    suggestions: ['Use a new key for a new request, or send exactly what was sent with this key before.'],
  })
}
