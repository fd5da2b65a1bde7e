import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'

/** Encrypts what key rows hold, under MONK_SECRET. */
export interface KeyEncryption {
  /** `context` is bound to the value: a value copied to another row or purpose does not decrypt. */
  encrypt(plaintext: Uint8Array, context: string): string
  /** Throws WrongSecretError when another secret encrypted it, and Error when it was tampered with. */
  decrypt(value: string, context: string): Buffer
}

/** The database holds keys that this MONK_SECRET did not encrypt. */
export class WrongSecretError extends Error {
  constructor(foundId: string, ownId: string) {
    super(
      `The keys in this database were encrypted with another MONK_SECRET (theirs has the id ${foundId}, the present one ` +
        `${ownId}). Start with the MONK_SECRET that this database was first used with; a backup needs its own, too.`,
    )
    this.name = 'WrongSecretError'
  }
}

const version = 'v1'
const ivBytes = 12
const tagBytes = 16

/**
 * AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce; key and key id are derived from the secret by HKDF-SHA256
 * (RFC 5869). Values read `v1:<secret key id>:<iv>:<tag>:<data>`, the last three in base64url.
 */
export function createKeyEncryption(secret: string): KeyEncryption {
  const key = derive(secret, 'monk key rows: encryption', 32)
  // Derived apart from the key, so that showing it tells nothing about either.
  const ownId = derive(secret, 'monk key rows: id', 6).toString('hex')

  return {
    encrypt(plaintext, context) {
      const iv = randomBytes(ivBytes)
      const cipher = createCipheriv('aes-256-gcm', key, iv, { authTagLength: tagBytes })
      cipher.setAAD(Buffer.from(context))
      const data = Buffer.concat([cipher.update(plaintext), cipher.final()])
      return [version, ownId, ...[iv, cipher.getAuthTag(), data].map((part) => part.toString('base64url'))].join(':')
    },
    decrypt(value, context) {
      const [foundVersion, foundId, iv, tag, data, ...rest] = value.split(':')
      if (foundVersion !== version || foundId === undefined || rest.length > 0) throw unreadable(context)
      if (iv === undefined || tag === undefined || data === undefined) throw unreadable(context)
      if (foundId !== ownId) throw new WrongSecretError(foundId, ownId)
      try {
        const decipher = createDecipheriv('aes-256-gcm', key, Buffer.from(iv, 'base64url'), { authTagLength: tagBytes })
        decipher.setAAD(Buffer.from(context))
        decipher.setAuthTag(Buffer.from(tag, 'base64url'))
        return Buffer.concat([decipher.update(Buffer.from(data, 'base64url')), decipher.final()])
      } catch (cause) {
        throw unreadable(context, cause)
      }
    },
  }
}

function derive(secret: string, purpose: string, bytes: number): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, '', purpose, bytes))
}

function unreadable(context: string, cause?: unknown): Error {
  return new Error(`The encrypted value of ${context} cannot be read: it was changed after it was written.`, { cause })
}
