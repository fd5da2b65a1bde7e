import { createHash, createHmac, randomBytes } from 'node:crypto'
import type { Key } from './key.ts'

// 32 bytes in base64url; anything else was not made here and is not worth a query.
const shape = /^[A-Za-z0-9_-]{43}$/

/** The first token of a family: 256 random bits. */
export function newRefreshToken(): string {
  return randomBytes(32).toString('base64url')
}

/**
 * The child `childId` of `parent`: HMAC-SHA256(key, parent ‖ child id). Who presents the parent again within the grace gets
 * the same child again, though only its digest is stored.
 */
export function childRefreshToken(parent: string, childId: string, key: Key): string {
  if (key.material.kind !== 'symmetric') throw new Error(`The refresh key ${key.id} is not a symmetric key.`)
  return createHmac('sha256', key.material.bytes).update(parent).update(childId).digest('base64url')
}

/** What is stored of a token: its SHA-256. It has 256 random bits, so there is nothing to guess and no salt to add. */
export function refreshTokenHash(token: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(createHash('sha256').update(token).digest())
}

/** False for what cannot be a refresh token. */
export function isRefreshTokenShaped(text: string): boolean {
  return shape.test(text)
}
