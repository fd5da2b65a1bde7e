import { afterAll, describe, expect, test } from 'vitest'
import { sendRaw } from '../support/raw-http.ts'
import { startTestApp, type TestApp } from '../support/test-app.ts'

const behindProxies = await startTestApp({ env: { TRUSTED_PROXIES: 'loopback, 10.0.0.0/8, 2001:db8:ffff::/48' } })
const exposed = await startTestApp()
afterAll(async () => {
  await behindProxies[Symbol.asyncDispose]()
  await exposed[Symbol.asyncDispose]()
})

const mutation = 'mutation ($input: SignUpInput!) { signUp(input: $input) { accessToken } }'
const sessionIps = '{ viewer { sessions { ip } } }'
let people = 0

/** The address that a session which is opened with these headers has. */
async function addressSeen(app: TestApp, headers: Record<string, string>): Promise<unknown> {
  const input = { email: `forwarded-${(people += 1)}@example.com`, password: 'violet-otter-canyon-42' }
  const { signUp } = await app.data<{ signUp: { accessToken: string } }>(mutation, { input }, { headers })
  const { viewer } = await app.data<{ viewer: { sessions: { ip: string }[] } }>(
    sessionIps,
    {},
    { token: signUp.accessToken },
  )
  return viewer.sessions[0]?.ip
}

describe('behind trusted proxies the address of the caller', () => {
  test.each([
    ['is that before the last trusted proxy', '203.0.113.9', '203.0.113.9'],
    [
      'is the rightmost that is not trusted, whatever is left of it',
      '198.51.100.1, 203.0.113.9, 10.1.2.3',
      '203.0.113.9',
    ],
    ['cannot be chosen by the caller', '127.0.0.1, 10.0.0.1, 203.0.113.9', '203.0.113.9'],
    ['may be IPv6', '2001:db8:1::7, 2001:db8:ffff::1', '2001:db8:1::7'],
    ['is IPv4 when IPv6 only wraps it', '::ffff:203.0.113.9', '203.0.113.9'],
    ['is that of the proxy which says no address', 'evil, 10.1.2.3', '10.1.2.3'],
    ['is that of the proxy where a script is said', '<script>alert(1)</script>', '127.0.0.1'],
  ])('%s', async (_name, forwardedFor, expected) => {
    expect(await addressSeen(behindProxies, { 'x-forwarded-for': forwardedFor })).toBe(expected)
  })
})

test('without trusted proxies the address is that of the connection', async () => {
  expect(await addressSeen(exposed, { 'x-forwarded-for': '203.0.113.9' })).toBe('127.0.0.1')
})

describe('Strict-Transport-Security', () => {
  const hsts = async (app: TestApp, headers: Record<string, string>): Promise<string | null> =>
    (await app.request('/health/live', { headers })).headers.get('strict-transport-security')

  test.each([
    ['https', { 'x-forwarded-proto': 'https' }],
    [
      'https before several proxies',
      { 'x-forwarded-proto': 'https, http', 'x-forwarded-for': '203.0.113.9, 10.1.2.3' },
    ],
    [
      'https, which the proxies handed on',
      { 'x-forwarded-proto': 'https', 'x-forwarded-for': '203.0.113.9, 10.1.2.3' },
    ],
  ])('is set when the caller speaks %s', async (_name, headers) => {
    expect(await hsts(behindProxies, headers)).toBe('max-age=31536000')
  })

  test.each([
    ['http', { 'x-forwarded-proto': 'http' }],
    ['http to the only proxy, and claims https', { 'x-forwarded-proto': 'https, http' }],
    ['nothing that a proxy names', {}],
  ])('is not set when the caller speaks %s', async (_name, headers) => {
    expect(await hsts(behindProxies, headers)).toBeNull()
  })

  test('is not set when a stranger says https', async () => {
    expect(await hsts(exposed, { 'x-forwarded-proto': 'https' })).toBeNull()
  })
})

test.each(['/health/live', '/graphql'])('GET %s leaves the connection open', async (path) => {
  const request = `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`
  const last = `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`
  const { head, body } = await sendRaw(exposed.url, [request, last])
  expect(head.toLowerCase()).not.toContain('connection: close')
  expect(body).toContain('HTTP/1.1 ')
})
