import { createHmac, generateKeyPairSync, sign, type KeyObject } from 'node:crypto'
import { decodeJwt, decodeProtectedHeader, SignJWT } from 'jose'
import { afterAll, describe, expect, test } from 'vitest'
import { createAccessTokens } from '../../../src/features/accounts/access-tokens.ts'
import { openKeyRows } from '../../../src/features/accounts/key-rows.ts'
import { newId } from '../../../src/lib/ids.ts'
import { createLogger } from '../../../src/platform/logger.ts'
import { startTestDatabase } from '../../support/test-database.ts'
import { manualClock, secret } from './account-fixtures.ts'

const db = await startTestDatabase()
const clock = manualClock()
const logger = createLogger({ level: 'silent' })
const keys = await openKeyRows({ db, secret, clock, newId, logger })
const tokens = createAccessTokens({ keys, clock, newId })
afterAll(async () => {
  await keys.close()
  await db[Symbol.asyncDispose]()
})

const session = { id: newId(), userId: newId(), expiresAt: new Date('2026-03-31T12:00:00.000Z') }
const nowSeconds = clock.now().getTime() / 1_000

describe('an access token', () => {
  test('carries what RFC 9068 asks for, for 10 minutes, and says so', async () => {
    const { token, expiresAt } = await tokens.issue(session)
    const kid = keys.current('JWT_SIGNING').id
    expect(decodeProtectedHeader(token)).toEqual({ alg: 'EdDSA', typ: 'at+jwt', kid })
    expect(decodeJwt(token)).toEqual({
      iss: 'monk-ai',
      aud: 'monk-ai/api',
      sub: session.userId,
      sid: session.id,
      jti: expect.stringMatching(/^[0-9a-f-]{36}$/),
      iat: nowSeconds,
      exp: nowSeconds + 600,
    })
    expect(expiresAt).toEqual(new Date('2026-03-01T12:10:00.000Z'))
    expect(await tokens.verify(token)).toEqual({ userId: session.userId, sessionId: session.id, expiresAt })
  })

  test('never outlives its session', async () => {
    const { expiresAt } = await tokens.issue({ ...session, expiresAt: new Date('2026-03-01T12:03:00.500Z') })
    expect(expiresAt).toEqual(new Date('2026-03-01T12:03:00.000Z'))
  })

  test('is taken until 5 s after its end, for clocks that differ, and no longer', async () => {
    const { token } = await tokens.issue(session)
    const later = manualClock()
    const elsewhere = createAccessTokens({ keys, clock: later, newId })
    later.advance(604_000)
    await expect(elsewhere.verify(token)).resolves.toMatchObject({ sessionId: session.id })
    later.advance(1_000)
    await expect(elsewhere.verify(token)).rejects.toMatchObject({
      code: 'UNAUTHENTICATED',
      details: { reason: 'EXPIRED' },
    })
  })

  test('can be verified with the published keys, those to come included', async () => {
    const next = generateKeyPairSync('ed25519')
    const jwks = await tokens.jwks()
    expect(jwks).toEqual({
      keys: [
        {
          kty: 'OKP',
          crv: 'Ed25519',
          x: expect.any(String),
          kid: keys.current('JWT_SIGNING').id,
          alg: 'EdDSA',
          use: 'sig',
        },
      ],
    })
    // A public key that somebody has written into the row without MONK_SECRET is not believed.
    const forged = { kty: 'OKP', crv: 'Ed25519', x: next.publicKey.export({ format: 'jwk' }).x ?? null }
    await db.prisma.keyRow.updateMany({ where: { purpose: 'JWT_SIGNING' }, data: { publicJwk: forged } })
    await keys.reload()
    expect(await tokens.jwks()).toEqual(jwks)
  })

  test('of a retiring key is taken, of a retired one not', async () => {
    const { token } = await tokens.issue(session)
    const { id } = keys.current('JWT_SIGNING')
    for (const [state, taken] of [
      ['RETIRING', true],
      ['RETIRED', false],
      ['NEXT', true],
      ['CURRENT', true],
    ] as const) {
      await db.prisma.keyRow.update({ where: { id }, data: { state } })
      await keys.reload()
      const outcome = await tokens.verify(token).then(
        () => true,
        () => false,
      )
      expect([state, outcome]).toEqual([state, taken])
      expect((await tokens.jwks()).keys.length).toBe(taken ? 1 : 0)
    }
  })
})

const claims = {
  iss: 'monk-ai',
  aud: 'monk-ai/api',
  sub: session.userId,
  sid: session.id,
  jti: newId(),
  iat: nowSeconds,
  exp: nowSeconds + 600,
}
type Json = Record<string, unknown>

function signingKey(): { kid: string; privateKey: KeyObject; publicKey: KeyObject } {
  const { id, material } = keys.current('JWT_SIGNING')
  if (material.kind !== 'signing') throw new Error('expected a signing key')
  return { kid: id, privateKey: material.privateKey, publicKey: material.publicKey }
}

/** A token that our own key has signed, with other contents. */
function signed(payload: Json, header: Json = {}): Promise<string> {
  const { kid, privateKey } = signingKey()
  return new SignJWT(payload).setProtectedHeader({ alg: 'EdDSA', typ: 'at+jwt', kid, ...header }).sign(privateKey)
}

/** The same without jose, which refuses to make some of them. */
function signedByHand(payload: Json, header: Json): string {
  const { kid, privateKey } = signingKey()
  const content = `${encode({ alg: 'EdDSA', typ: 'at+jwt', kid, ...header })}.${encode(payload)}`
  return `${content}.${sign(null, Buffer.from(content), privateKey).toString('base64url')}`
}

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')
const without = (name: keyof typeof claims): Json =>
  Object.fromEntries(Object.entries(claims).filter(([claim]) => claim !== name))

function hs256(hmacKey: string | Buffer): string {
  const content = `${encode({ alg: 'HS256', typ: 'at+jwt', kid: signingKey().kid })}.${encode(claims)}`
  return `${content}.${createHmac('sha256', hmacKey).update(content).digest('base64url')}`
}

describe('verification refuses', () => {
  test('nothing that is right', async () => {
    await expect(tokens.verify(await signed(claims))).resolves.toMatchObject({ userId: session.userId })
  })

  const publicKey = signingKey().publicKey
  const rawPublicKey = Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url')
  const forgeries: [string, () => Promise<string> | string][] = [
    ['no text', () => ''],
    ['text that is no token', () => 'not.a.token'],
    ['only two parts', async () => (await signed(claims)).split('.').slice(0, 2).join('.')],
    ['alg none without a signature', () => `${encode({ alg: 'none', typ: 'at+jwt' })}.${encode(claims)}.`],
    [
      'alg none with our kid',
      () => `${encode({ alg: 'none', typ: 'at+jwt', kid: signingKey().kid })}.${encode(claims)}.`,
    ],
    ['alg nOnE', () => `${encode({ alg: 'nOnE', typ: 'at+jwt', kid: signingKey().kid })}.${encode(claims)}.`],
    ['HS256 with the public key as PEM', () => hs256(publicKey.export({ type: 'spki', format: 'pem' }))],
    ['HS256 with the public key as DER', () => hs256(publicKey.export({ type: 'spki', format: 'der' }))],
    ['HS256 with the bytes of the public key', () => hs256(rawPublicKey)],
    ['HS256 with no key', () => hs256('')],
    ['another type', () => signed(claims, { typ: 'JWT' })],
    ['no type', () => signed(claims, { typ: undefined })],
    ['an unknown kid', () => signed(claims, { kid: newId() })],
    ['no kid', () => signed(claims, { kid: undefined })],
    ['a kid that names a key of another purpose', () => signed(claims, { kid: keys.current('PEPPER').id })],
    ['a kid that is a path', () => signed(claims, { kid: '../../etc/passwd' })],
    ['another issuer', () => signed({ ...claims, iss: 'https://evil.example' })],
    ['no issuer', () => signed(without('iss'))],
    ['another audience', () => signed({ ...claims, aud: 'monk-ai/other' })],
    ['no audience', () => signed(without('aud'))],
    ['no end', () => signed(without('exp'))],
    ['an end that is text', () => signed({ ...claims, exp: '9999999999' })],
    ['no subject', () => signed(without('sub'))],
    ['a subject that is no id', () => signed({ ...claims, sub: "' OR true --" })],
    ['no session', () => signed(without('sid'))],
    ['a session that is no id', () => signed({ ...claims, sid: { id: session.id } })],
    ['no jti', () => signed(without('jti'))],
    ['no time of issue', () => signed(without('iat'))],
    ['a beginning in the future', () => signed({ ...claims, nbf: nowSeconds + 60 })],
    ['a critical extension that nobody knows', () => signedByHand(claims, { crit: ['x'], x: 1 })],
    ['a payload that is not encoded', () => signedByHand(claims, { crit: ['b64'], b64: false })],
    ['more than it can ever hold', () => signed({ ...claims, filler: 'x'.repeat(4_000) })],
    [
      'the signature of another key under our kid',
      () => {
        const { privateKey } = generateKeyPairSync('ed25519')
        const header = { alg: 'EdDSA', typ: 'at+jwt', kid: signingKey().kid }
        return new SignJWT(claims).setProtectedHeader(header).sign(privateKey)
      },
    ],
    [
      'a key that the token brings along',
      () => {
        const pair = generateKeyPairSync('ed25519')
        const jwk = { kty: 'OKP', crv: 'Ed25519', x: pair.publicKey.export({ format: 'jwk' }).x ?? '' }
        return new SignJWT(claims).setProtectedHeader({ alg: 'EdDSA', typ: 'at+jwt', jwk }).sign(pair.privateKey)
      },
    ],
    [
      'other claims under the same signature',
      async () => {
        const [header, , signature] = (await signed(claims)).split('.')
        return [header, encode({ ...claims, sub: newId() }), signature].join('.')
      },
    ],
    [
      'a signature with one bit flipped',
      async () => {
        const [header, payload, signature] = (await signed(claims)).split('.')
        const bytes = Buffer.from(signature ?? '', 'base64url')
        bytes.writeUInt8(bytes.readUInt8(40) ^ 1, 40)
        return [header, payload, bytes.toString('base64url')].join('.')
      },
    ],
  ]
  test.each(forgeries)('%s', async (_what, forge) => {
    await expect(tokens.verify(await forge())).rejects.toMatchObject({
      code: 'UNAUTHENTICATED',
      details: { reason: 'INVALID_TOKEN' },
    })
  })
})
