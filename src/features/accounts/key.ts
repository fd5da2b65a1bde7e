import { createPrivateKey, createPublicKey, generateKeyPairSync, randomBytes, type KeyObject } from 'node:crypto'
import type { KeyRow, Prisma } from '../../generated/prisma/client.ts'
import type { KeyEncryption } from './key-encryption.ts'

/** The purposes that are in use so far; their keys are made at the first start. */
export const keyPurposes = ['JWT_SIGNING', 'CSRF', 'REFRESH', 'PEPPER'] as const
export type KeyPurpose = (typeof keyPurposes)[number]

/** Whether it is one that this version of the program uses. */
export function isKeyPurpose(purpose: string): purpose is KeyPurpose {
  return keyPurposes.some((known) => known === purpose)
}

type KeyState = 'NEXT' | 'CURRENT' | 'RETIRING'

/** A key of the server, decrypted. Never log one. */
export type Key = { id: string; purpose: KeyPurpose; state: KeyState; material: KeyMaterial }

export type KeyMaterial =
  | { kind: 'symmetric'; bytes: Buffer }
  /** Ed25519 (RFC 8032). */
  | { kind: 'signing'; privateKey: KeyObject; publicKey: KeyObject }

/** A row with a fresh key that nobody has seen. */
export function newKeyRow(
  purpose: KeyPurpose,
  { id, at, encryption, state }: { id: string; at: Date; encryption: KeyEncryption; state: 'NEXT' | 'CURRENT' },
): Prisma.KeyRowCreateManyInput & { purpose: KeyPurpose } {
  const row = { id, purpose, state, createdAt: at, activatedAt: state === 'CURRENT' ? at : null }
  if (purpose !== 'JWT_SIGNING') {
    return { ...row, encryptedValue: encryption.encrypt(randomBytes(32), contextOf(row)) }
  }
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const encryptedValue = encryption.encrypt(privateKey.export({ type: 'pkcs8', format: 'der' }), contextOf(row))
  return {
    ...row,
    encryptedValue,
    publicJwk: { kty: 'OKP', crv: 'Ed25519', x: publicKey.export({ format: 'jwk' }).x ?? null },
  }
}

/**
 * Decrypts what a row holds. The public half is computed from the private one and never read from `publicJwk`, which is
 * there for people: who can write to the database but does not know MONK_SECRET must not be able to add a key.
 */
export function decryptKey(
  { id, purpose, encryptedValue }: { id: string; purpose: KeyPurpose; encryptedValue: string },
  encryption: KeyEncryption,
): KeyMaterial {
  const bytes = encryption.decrypt(encryptedValue, contextOf({ id, purpose }))
  if (purpose !== 'JWT_SIGNING') return { kind: 'symmetric', bytes }
  const privateKey = createPrivateKey({ key: bytes, type: 'pkcs8', format: 'der' })
  return { kind: 'signing', privateKey, publicKey: createPublicKey(privateKey) }
}

function contextOf({ id, purpose }: Pick<KeyRow, 'id' | 'purpose'>): string {
  return `key_row ${id} ${purpose}`
}
