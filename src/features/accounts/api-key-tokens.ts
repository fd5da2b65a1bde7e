import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'

/** `mk_<prefix>_<secret>`: 48 random bits that name the key, 256 that prove it. Scanners for leaked secrets know such a form. */
export type ApiKeyToken = { prefix: string; secret: string }

const shape = /^mk_([0-9a-f]{12})_([A-Za-z0-9_-]{43})$/

export function newApiKeyToken(): ApiKeyToken {
  return { prefix: randomBytes(6).toString('hex'), secret: randomBytes(32).toString('base64url') }
}

export function formatApiKeyToken({ prefix, secret }: ApiKeyToken): string {
  return `mk_${prefix}_${secret}`
}

/** Whether the text claims to be an API key; an access token never does. */
export function looksLikeApiKey(text: string): boolean {
  return text.startsWith('mk_')
}

/** Null when it cannot be one. */
export function parseApiKeyToken(text: string): ApiKeyToken | null {
  const [, prefix, secret] = shape.exec(text) ?? []
  return prefix === undefined || secret === undefined ? null : { prefix, secret }
}

/** What is stored of the secret: its SHA-256. It has 256 random bits, so there is nothing to guess and no salt to add. */
export function apiKeyHash(secret: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(createHash('sha256').update(secret).digest())
}

/** In constant time. */
export function isSecretOf(hash: Uint8Array, secret: string): boolean {
  const presented = apiKeyHash(secret)
  return hash.length === presented.length && timingSafeEqual(hash, presented)
}
