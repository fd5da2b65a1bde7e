import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openSocket } from '../support/raw-socket.ts'
import { startTestApp, type TestApp } from '../support/test-app.ts'
import { WebSocket } from 'ws'
import { attackSuite, outcomeOf, post, type Attack, type Outcome } from './attack.ts'

// A session in cookies, and pages that would like to use it.

const listed = 'https://dashboard.example'
const password = 'violet-otter-canyon-42'
let app: TestApp
let own: string
beforeAll(async () => {
  app = await startTestApp({ env: { PUBLIC_ORIGINS: listed, TRUSTED_PROXIES: 'loopback' } })
  own = app.url
})
afterAll(() => app[Symbol.asyncDispose]())

/** A browser's cookies of one host. */
class Jar {
  readonly #cookies = new Map<string, string>()

  keep(response: Response): this {
    for (const line of response.headers.getSetCookie()) {
      const [pair = ''] = line.split(';', 1)
      const [name = '', value = ''] = pair.split('=')
      if (/max-age=0/i.test(line)) this.#cookies.delete(name)
      else this.#cookies.set(name, value)
    }
    return this
  }

  get names(): string[] {
    return [...this.#cookies.keys()].toSorted()
  }

  value(name: string): string {
    return this.#cookies.get(`__Host-monk-${name}`) ?? ''
  }

  without(name: string): Jar {
    const copy = new Jar()
    for (const [key, value] of this.#cookies) if (key !== `__Host-monk-${name}`) copy.#cookies.set(key, value)
    return copy
  }

  header(): string {
    return [...this.#cookies].map(([name, value]) => `${name}=${value}`).join('; ')
  }
}

const ask = (query: string, jar: Jar, headers: Record<string, string> = {}, variables?: unknown): Promise<Response> =>
  app.request('/graphql', {
    method: 'POST',
    headers: { 'content-type': 'application/json', cookie: jar.header(), origin: own, ...headers },
    body: JSON.stringify({ query, variables }),
  })

const withToken = (jar: Jar): Record<string, string> => ({ 'x-csrf-token': jar.value('csrf') })

let people = 0
async function signedIn(): Promise<{ jar: Jar; email: string }> {
  const jar = new Jar()
  jar.keep(await ask('{ csrfToken }', jar))
  const email = `cookies-${(people += 1)}@example.com`
  const response = await ask(
    'mutation ($input: SignUpInput!) { signUp(input: $input) { accessToken refreshToken csrfToken } }',
    jar,
    withToken(jar),
    { input: { email, password, useCookies: true } },
  )
  expect(await response.clone().json()).toMatchObject({
    data: { signUp: { accessToken: null, refreshToken: null, csrfToken: expect.any(String) } },
  })
  return { jar: jar.keep(response), email }
}

const createWorkspace = 'mutation { createWorkspace(input: { name: "Forged" }) { workspace { id } } }'
const me = '{ viewer { user { email } } }'

describe('cookie mode', () => {
  test('keeps the tokens from scripts, and from other hosts', async () => {
    const jar = new Jar()
    const first = await ask('{ csrfToken }', jar)
    jar.keep(first)
    const input = { email: 'attributes@example.com', password, useCookies: true }
    const response = await ask(
      'mutation ($input: SignUpInput!) { signUp(input: $input) { user { id } } }',
      jar,
      withToken(jar),
      { input },
    )
    const lines = response.headers
      .getSetCookie()
      .map((line) => line.replace(/=[^;]+/, '=…').replace(/Max-Age=\d+/, 'Max-Age=…'))
    expect(lines).toEqual([
      '__Host-monk-access=…; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=…',
      '__Host-monk-refresh=…; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=…',
      '__Host-monk-binding=…; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=…',
      '__Host-monk-csrf=…; Path=/; Secure; SameSite=Strict; Max-Age=…',
    ])
  })

  test('goes on with a refresh, and ends with logOut, which takes the cookies back', async () => {
    const { jar, email } = await signedIn()
    const refreshed = await ask(
      'mutation { refreshSession { accessToken csrfToken } }',
      jar.without('access'),
      withToken(jar),
    )
    expect(await refreshed.clone().json()).toMatchObject({ data: { refreshSession: { accessToken: null } } })
    jar.keep(refreshed)
    expect(await (await ask(me, jar)).json()).toMatchObject({ data: { viewer: { user: { email } } } })
    const before = jar.header()
    jar.keep(await ask('mutation { logOut { ok } }', jar, withToken(jar)))
    expect(jar.names).toEqual([])
    const stale = await app.request('/graphql', {
      method: 'POST',
      headers: { 'content-type': 'application/json', cookie: before },
      body: JSON.stringify({ query: me }),
    })
    expect(stale.status).toBe(401)
  })

  test('works from a listed origin, over https', async () => {
    const { jar, email } = await signedIn()
    const https = { 'x-forwarded-proto': 'https', origin: listed }
    const response = await ask(me, jar, https)
    expect(response.headers.get('access-control-allow-credentials')).toBe('true')
    expect(await response.json()).toMatchObject({ data: { viewer: { user: { email } } } })
  })

  test('yields to an Authorization header', async () => {
    const { jar } = await signedIn()
    const other = await app.signUp()
    const response = await ask(me, jar, { authorization: `Bearer ${other.token}` })
    expect(await response.json()).toMatchObject({ data: { viewer: { user: { email: other.email } } } })
  })

  test('a failed refresh takes no cookies away: another tab may have new ones already', async () => {
    const { jar } = await signedIn()
    const forged = new Jar().keep(
      new Response(null, { headers: { 'set-cookie': `__Host-monk-refresh=${'a'.repeat(43)}` } }),
    )
    const cookie = `${jar.without('refresh').without('access').header()}; ${forged.header()}`
    const response = await ask('mutation { refreshSession { user { id } } }', jar, { ...withToken(jar), cookie })
    expect(response.headers.getSetCookie()).toEqual([])
    expect(await response.json()).toMatchObject({ errors: [{ extensions: { code: 'UNAUTHENTICATED' } }] })
  })
})

type Target = { app: TestApp }
const csrf = { code: 'FORBIDDEN', status: 403, details: { reason: 'CSRF' } }
const origin = { code: 'FORBIDDEN', status: 403, details: { reason: 'ORIGIN' } }
const account = { session: 1, refresh_token: 1, app_user: 1, workspace: 1, workspace_counter: 1, workspace_member: 1 }

/** An attack on somebody who is signed in; their sign-up is what it leaves. */
const forged = (
  name: string,
  send: (victim: { jar: Jar; email: string }) => Promise<Response>,
  expected: Attack<Target>['expected'],
): Attack<Target> => ({
  name,
  send: async () => outcomeOf(await send(await signedIn())),
  expected,
  leaves: account,
})

attackSuite('a page that uses somebody’s cookies', () => ({ app }), [
  forged('sends a mutation without a CSRF token', ({ jar }) => ask(createWorkspace, jar), csrf),
  forged('sends an empty CSRF token', ({ jar }) => ask(createWorkspace, jar, { 'x-csrf-token': '' }), csrf),
  forged(
    'sends a CSRF token of its own making',
    ({ jar }) => ask(createWorkspace, jar, { 'x-csrf-token': `${'a'.repeat(43)}.${crypto.randomUUID()}` }),
    csrf,
  ),
  forged(
    'sends the right token without its cookie',
    ({ jar }) => ask(createWorkspace, jar.without('csrf'), withToken(jar)),
    csrf,
  ),
  forged(
    'plants the CSRF token of nobody, in header and cookie',
    async ({ jar }) => {
      const nobody = new Jar()
      nobody.keep(await ask('{ csrfToken }', nobody))
      const cookie = `${jar.without('csrf').header()}; __Host-monk-csrf=${nobody.value('csrf')}`
      return ask(createWorkspace, jar, { cookie, ...withToken(nobody) })
    },
    csrf,
  ),
  forged(
    'plants the CSRF token and the binding of nobody',
    async ({ jar }) => {
      const nobody = new Jar()
      nobody.keep(await ask('{ csrfToken }', nobody))
      const cookie = `${jar.without('csrf').without('binding').header()}; ${nobody.header()}`
      return ask(createWorkspace, jar, { cookie, ...withToken(nobody) })
    },
    csrf,
  ),
  forged(
    'comes from another origin',
    ({ jar }) => ask(createWorkspace, jar, { ...withToken(jar), origin: 'https://evil.example' }),
    origin,
  ),
  forged(
    'comes from an origin that begins like a listed one',
    ({ jar }) => ask(me, jar, { origin: `${listed}.evil.example` }),
    origin,
  ),
  forged('comes from a sandboxed page', ({ jar }) => ask(me, jar, { origin: 'null' }), origin),
  forged(
    'reads by a GET that names no origin',
    ({ jar }) =>
      app.request(`/graphql?query=${encodeURIComponent('subscription { workspaceFeed { __typename } }')}`, {
        headers: { accept: 'text/event-stream', cookie: jar.header(), 'sec-fetch-site': 'cross-site' },
      }),
    { code: 'FORBIDDEN', details: { reason: 'ORIGIN' } },
  ),
  forged('logs somebody out', ({ jar }) => ask('mutation { logOut { ok } }', jar), csrf),
  forged(
    'refreshes a session',
    ({ jar }) => ask('mutation { refreshSession { user { id } } }', jar.without('access')),
    csrf,
  ),
])

const logIn = 'mutation ($input: LogInInput!) { logIn(input: $input) { accessToken } }'
const anybody = { input: { email: 'nobody@example.com', password, useCookies: true } }

attackSuite('a log-in in cookies', () => ({ app }), [
  {
    name: 'that a foreign page starts (log-in CSRF)',
    send: async (): Promise<Outcome> =>
      outcomeOf(await ask(logIn, new Jar(), { origin: 'https://evil.example' }, anybody)),
    expected: { code: 'FORBIDDEN', details: { reason: 'ORIGIN' } },
  },
  {
    name: 'without a CSRF token',
    send: async () => outcomeOf(await ask(logIn, new Jar(), {}, anybody)),
    expected: { code: 'FORBIDDEN', details: { reason: 'CSRF' } },
  },
  {
    name: 'over plain http on a host that is not this one',
    send: ({ app: server }) =>
      post(
        server,
        { query: logIn, variables: anybody },
        { headers: { 'x-forwarded-host': 'localhost', 'x-forwarded-proto': 'http', host: 'monk.example' } },
      ),
    expected: { code: 'FORBIDDEN' },
  },
  {
    name: 'over a WebSocket, which cannot set any',
    send: async ({ app: server }) => {
      await using socket = await openSocket(server.url)
      socket.send({ type: 'connection_init' })
      await socket.receive()
      socket.send({ type: 'subscribe', id: '1', payload: { query: '{ csrfToken }' } })
      const { payload } = await socket.receive()
      return {
        status: 0,
        headers: {},
        code: null,
        message: null,
        details: {},
        data: payload,
        text: JSON.stringify(payload),
      }
    },
    expected: { text: expect.stringContaining('Cookies can only be set over HTTP.') },
  },
])

describe('a WebSocket with somebody’s cookies', () => {
  const close = (headers: Record<string, string>): Promise<{ code: number; acknowledged: boolean }> =>
    new Promise((resolve) => {
      const socket = new WebSocket(`${app.url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws', { headers })
      let acknowledged = false
      socket.once('open', () => socket.send('{"type":"connection_init"}'))
      socket.once('message', () => {
        acknowledged = true
        socket.close()
      })
      socket.once('close', (code) => resolve({ code, acknowledged }))
    })

  test.each([
    ['another origin', { origin: 'https://evil.example' }, false],
    ['no origin', {}, false],
    ['a sandboxed page', { origin: 'null' }, false],
    ['a listed origin', { origin: listed }, true],
  ])('from %s', async (_name, headers: Record<string, string>, isTaken) => {
    const { jar } = await signedIn()
    const { code, acknowledged } = await close({ cookie: jar.header(), ...headers })
    expect([acknowledged, code]).toEqual([isTaken, isTaken ? 1005 : 4403])
  })
})
