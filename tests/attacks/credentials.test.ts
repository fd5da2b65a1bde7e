import { exportJWK, generateKeyPair, SignJWT, UnsecuredJWT } from 'jose'
import { createHmac } from 'node:crypto'
import { afterAll, beforeAll } from 'vitest'
import { startTestApp, type TestApp, type TestUser } from '../support/test-app.ts'
import { attackSuite, outcomeOf, post, raw, type Attack } from './attack.ts'

// Tokens that somebody else has made, or that were somebody's once.

let app: TestApp
let victim: TestUser
beforeAll(async () => {
  app = await startTestApp()
  await app.signUp()
  victim = await app.signUp()
})
afterAll(() => app[Symbol.asyncDispose]())

type Parts = { header: Record<string, unknown>; payload: Record<string, unknown>; signature: string }

function take(token: string): Parts {
  const [header = '', payload = '', signature = ''] = token.split('.')
  const decode = (part: string) => JSON.parse(Buffer.from(part, 'base64url').toString())
  return { header: decode(header), payload: decode(payload), signature }
}

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')
const me = { query: '{ viewer { user { id } } }' }
const refused = { status: 401, code: 'UNAUTHENTICATED', data: null }

/** Sends what is made of the victim's own token. */
const forged = (name: string, make: (parts: Parts) => string | Promise<string>): Attack<{ app: TestApp }> => ({
  name,
  send: async () => post(app, me, { token: await make(take(victim.token)) }),
  expected: { ...refused, details: { reason: 'INVALID_TOKEN' } },
})

attackSuite('a token', () => ({ app }), [
  forged('says that it needs no signature', ({ payload }) => new UnsecuredJWT(payload).encode()),
  forged(
    'says that it needs no signature, and keeps the old one',
    ({ payload, signature }) => `${encode({ alg: 'none', typ: 'at+jwt' })}.${encode(payload)}.${signature}`,
  ),
  forged('is signed with the public key as a password (algorithm confusion)', async ({ header, payload }) => {
    const { keys } = JSON.parse(await (await app.request('/.well-known/jwks.json')).text())
    const signed = `${encode({ ...header, alg: 'HS256' })}.${encode(payload)}`
    return `${signed}.${createHmac('sha256', Buffer.from(keys[0].x, 'base64url')).update(signed).digest('base64url')}`
  }),
  forged('is signed with a key that it brings along', async ({ header, payload }) => {
    const { privateKey, publicKey } = await generateKeyPair('EdDSA')
    return new SignJWT(payload)
      .setProtectedHeader({ ...header, alg: 'EdDSA', jwk: await exportJWK(publicKey) })
      .sign(privateKey)
  }),
  forged('is signed with a key elsewhere', async ({ header, payload }) => {
    const { privateKey } = await generateKeyPair('EdDSA')
    return new SignJWT(payload)
      .setProtectedHeader({ ...header, alg: 'EdDSA', jku: 'http://127.0.0.1:9/jwks' })
      .sign(privateKey)
  }),
  forged(
    'names a key outside',
    ({ header, payload, signature }) =>
      `${encode({ ...header, kid: '../../etc/passwd' })}.${encode(payload)}.${signature}`,
  ),
  forged(
    'names a key in SQL',
    ({ header, payload, signature }) => `${encode({ ...header, kid: `' OR '1'='1` })}.${encode(payload)}.${signature}`,
  ),
  forged(
    'names a prototype for a key',
    ({ header, payload, signature }) => `${encode({ ...header, kid: '__proto__' })}.${encode(payload)}.${signature}`,
  ),
  forged(
    'says that it is somebody else',
    ({ header, payload, signature }) =>
      `${encode(header)}.${encode({ ...payload, sub: crypto.randomUUID() })}.${signature}`,
  ),
  forged(
    'says that it lives for ever',
    ({ header, payload, signature }) => `${encode(header)}.${encode({ ...payload, exp: 9_999_999_999 })}.${signature}`,
  ),
  forged(
    'does not say when it ends',
    ({ header, payload: { exp: _exp, ...payload }, signature }) => `${encode(header)}.${encode(payload)}.${signature}`,
  ),
  forged('is a kilobyte of nothing', () => 'a'.repeat(3_000)),
  {
    name: 'is a refresh token in the place of an access token',
    send: () => post(app, me, { token: victim.refreshToken }),
    expected: refused,
  },
  {
    name: 'is an access token in the place of a refresh token',
    send: () =>
      post(app, {
        query: 'mutation ($t: String!) { refreshSession(input: { refreshToken: $t }) { accessToken } }',
        variables: { t: victim.token },
      }),
    expected: { code: 'UNAUTHENTICATED', data: null },
  },
  {
    name: 'is in the query string, where logs and histories see it',
    send: async () =>
      outcomeOf(
        await app.request(
          `/graphql?access_token=${victim.token}&query=${encodeURIComponent('subscription { workspaceFeed { __typename } }')}`,
          { headers: { accept: 'text/event-stream' } },
        ),
      ),
    expected: { code: 'UNAUTHENTICATED' },
  },
  {
    name: 'comes twice',
    send: () => {
      const body = JSON.stringify(me)
      return raw(app, [
        `POST /graphql HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nAuthorization: Bearer a\r\nAuthorization: Bearer ${victim.token}\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      ])
    },
    expected: refused,
  },
  {
    name: 'is of a session that has ended',
    send: async () => {
      const { token } = await app.signUp()
      await app.data('mutation { logOut { ok } }', {}, { token })
      return post(app, me, { token })
    },
    expected: { ...refused, details: { reason: 'SESSION_ENDED' } },
    leaves: { app_user: 1, session: 1, refresh_token: 1, workspace: 1, workspace_counter: 1, workspace_member: 1 },
  },
])

const refresh = 'mutation ($t: String!) { refreshSession(input: { refreshToken: $t }) { accessToken refreshToken } }'

attackSuite('a stolen refresh token', () => ({ app }), [
  {
    name: 'that is used after its owner has gone on twice ends the session for both',
    send: async () => {
      const owner = await app.signUp()
      let newest = owner.refreshToken
      for (let n = 0; n < 2; n += 1) {
        const { refreshSession } = await app.data<{ refreshSession: { refreshToken: string } }>(refresh, { t: newest })
        newest = refreshSession.refreshToken
      }
      const thief = await post(app, { query: refresh, variables: { t: owner.refreshToken } })
      const afterwards = await post(app, { query: refresh, variables: { t: newest } })
      return { ...thief, details: { thief: thief.details, owner: afterwards.details } }
    },
    expected: {
      code: 'UNAUTHENTICATED',
      details: { thief: { reason: 'REFRESH_REUSED' }, owner: { reason: 'SESSION_ENDED' } },
    },
    leaves: { app_user: 1, session: 1, refresh_token: 3, workspace: 1, workspace_counter: 1, workspace_member: 1 },
  },
])
