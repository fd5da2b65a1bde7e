import { afterAll, beforeAll, expect, test } from 'vitest'
import { startTestApp, type TestApp, type TestUser } from '../support/test-app.ts'
import { attackSuite, post, type Attack, type Outcome } from './attack.ts'

// Guesses, floods and sign-ups by the dozen, from addresses of the attacker's choice.

let app: TestApp
let victim: TestUser
beforeAll(async () => {
  app = await startTestApp({
    env: {
      TRUSTED_PROXIES: '127.0.0.1',
      LIMIT_ANONYMOUS_REQUESTS_PER_MINUTE: '40',
      LIMIT_LOGINS_PER_5_MINUTES: '6',
      LIMIT_SIGNUPS_PER_HOUR: '3',
      LIMIT_REQUESTS_PER_MINUTE: '30',
      LIMIT_COST_PER_MINUTE: '2000',
    },
  })
  victim = await app.signUp()
})
afterAll(() => app[Symbol.asyncDispose]())

const logInMutation = 'mutation ($input: LogInInput!) { logIn(input: $input) { accessToken } }'
const signUpMutation = 'mutation ($input: SignUpInput!) { signUp(input: $input) { accessToken } }'

const from = (ip: string): Record<string, string> => ({ 'x-forwarded-for': ip })
const logIn = (email: string, password: string, ip = '127.0.0.1'): Promise<Outcome> =>
  post(app, { query: logInMutation, variables: { input: { email, password } } }, { headers: from(ip) })
const signUp = (email: string, ip: string): Promise<Outcome> =>
  post(app, { query: signUpMutation, variables: { input: { email, password: 'short' } } }, { headers: from(ip) })

async function last(outcomes: Iterable<() => Promise<Outcome>>): Promise<Outcome> {
  let outcome: Outcome | undefined
  for (const send of outcomes) outcome = await send()
  if (outcome === undefined) throw new Error('nothing was sent')
  return outcome
}

const times = <T>(count: number, make: (n: number) => T): T[] => Array.from({ length: count }, (_, n) => make(n))

const limited = { status: 429, code: 'RATE_LIMITED', headers: { 'retry-after': expect.stringMatching(/^\d+$/) } }
const account = { app_user: 1, session: 1, refresh_token: 1, workspace: 1, workspace_counter: 1, workspace_member: 1 }

const attacks: Attack<{ app: TestApp }>[] = [
  {
    name: 'guesses a password six times',
    send: async () => {
      const { email } = await app.signUp()
      return last(times(6, (n) => () => logIn(email, `wrong guess number ${n}`)))
    },
    expected: limited,
    leaves: account,
  },
  {
    name: 'guesses right after five wrong guesses: the same refusal, word for word',
    send: async () => {
      const { email, password } = await app.signUp()
      await last(times(5, (n) => () => logIn(email, `wrong guess number ${n}`)))
      const wrong = await logIn(email, 'another wrong guess')
      const right = await logIn(email, password)
      return { ...right, details: { isSame: right.message === wrong.message } }
    },
    expected: { ...limited, details: { isSame: true } },
    leaves: account,
  },
  {
    name: 'guesses twenty times at once',
    send: async () => {
      const { email } = await app.signUp()
      const outcomes = await Promise.all(times(20, (n) => logIn(email, `wrong guess number ${n}`)))
      const [first] = outcomes
      if (first === undefined) throw new Error('nothing came back')
      return { ...first, details: { compared: outcomes.filter(({ code }) => code === 'UNAUTHENTICATED').length } }
    },
    expected: { details: { compared: 5 } },
    leaves: account,
  },
  {
    name: 'guesses from six addresses, in six spellings of one e-mail',
    send: async () => {
      const { email } = await app.signUp()
      const spellings = [email, email.toUpperCase(), ` ${email}`, `${email} `, `\t${email}`, email.replace('p', 'P')]
      return last(spellings.map((spelling, n) => () => logIn(spelling, 'a wrong guess', `198.51.100.${n}`)))
    },
    expected: limited,
    leaves: account,
  },
  {
    name: 'looks whether an account exists by whether it is locked: it is locked all the same',
    send: () => last(times(6, (n) => () => logIn('nobody-at-all@example.com', `wrong guess number ${n}`))),
    expected: limited,
  },
  {
    name: 'tries one password on many accounts',
    send: () => last(times(7, (n) => () => logIn(`somebody-${n}@example.com`, 'violet-otter', '203.0.113.1'))),
    expected: limited,
  },
  {
    name: 'tries many accounts from many addresses of one network',
    send: () =>
      last(times(7, (n) => () => logIn(`someone-${n}@example.com`, 'violet-otter', `2001:db8:1:1::${n + 1}`))),
    expected: limited,
  },
  {
    name: 'writes addresses of its choice before its own',
    send: () =>
      last(times(7, (n) => () => logIn(`anyone-${n}@example.com`, 'violet-otter', `10.9.8.${n}, 203.0.113.2`))),
    expected: limited,
  },
  {
    name: 'makes accounts by the dozen',
    send: () => last(times(4, (n) => () => signUp(`dozen-${n}@example.com`, '203.0.113.3'))),
    expected: limited,
  },
  {
    name: 'floods the server without an account',
    send: () => last(times(41, () => () => post(app, { query: '{ __typename }' }, { headers: from('203.0.113.4') }))),
    expected: limited,
  },
  {
    name: 'floods the server with forged tokens',
    send: () =>
      last(
        times(
          41,
          (n) => () =>
            post(app, { query: '{ __typename }' }, { token: `forged.${n}.token`, headers: from('203.0.113.5') }),
        ),
      ),
    expected: limited,
  },
  {
    name: 'floods the server with nonsense',
    send: () => last(times(41, () => () => post(app, '{', { headers: from('203.0.113.6') }))),
    expected: limited,
  },
  {
    name: 'floods the server with an account, from many addresses',
    send: async () => {
      const { token } = await app.signUp()
      return last(
        times(31, (n) => () => post(app, { query: '{ __typename }' }, { token, headers: from(`198.51.100.${n}`) })),
      )
    },
    expected: limited,
    leaves: account,
  },
  {
    name: 'asks for much with few requests',
    send: async () => {
      const { token } = await app.signUp()
      const query = '{ agents(first: 100) { edges { node { id name } } } }'
      return last(times(5, () => () => post(app, { query }, { token })))
    },
    expected: { ...limited, details: expect.objectContaining({ cost: 401, maximumPerMinute: 2_000 }) },
    leaves: account,
  },
]

attackSuite('somebody who', () => ({ app }), attacks)

test('a right password takes the failures back', async () => {
  const { email, password } = await app.signUp()
  for (let round = 0; round < 3; round += 1) {
    for (let n = 0; n < 4; n += 1) expect((await logIn(email, 'a wrong guess')).code).toBe('UNAUTHENTICATED')
    expect((await logIn(email, password)).code).toBeNull()
  }
})

test('this machine’s own address is not limited outside production', async () => {
  const outcomes = await Promise.all(times(60, () => post(app, { query: '{ __typename }' })))
  expect(outcomes.every(({ status }) => status === 200)).toBe(true)
  expect(victim.id).not.toBe('')
})
