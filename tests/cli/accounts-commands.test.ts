import { afterAll, describe, expect, test } from 'vitest'
import { keys } from '../../src/cli/keys.ts'
import { UsageError } from '../../src/cli/command.ts'
import { createUsersCommand } from '../../src/cli/users.ts'
import { WrongSecretError } from '../../src/features/accounts/key-encryption.ts'
import { startTestApp } from '../support/test-app.ts'
import { makeDataDirectory } from '../support/data-directory.ts'
import { until } from '../support/until.ts'

// The commands work on the running server's database, over its socket.
const app = await startTestApp()
const { prisma } = app.services.db
afterAll(() => app[Symbol.asyncDispose]())

const firstPassword = 'violet-otter-canyon-42'
const secondPassword = 'quiet-harbour-lantern-77'
const logIn = 'mutation ($input: LogInInput!) { logIn(input: $input) { user { role } accessToken } }'

async function users(args: string[], password = firstPassword): Promise<string[]> {
  const printed: string[] = []
  const command = createUsersCommand(async () => password)
  await command({ args, env: app.env, output: (line) => printed.push(line) })
  return printed
}

async function tokenOf(email: string, password: string): Promise<string | null> {
  const { data } = await app.graphql<{ logIn: { accessToken: string } }>(logIn, { input: { email, password } })
  return data?.logIn.accessToken ?? null
}

describe('monk users', () => {
  test('creates an account that can log in, with a personal workspace', async () => {
    expect(await users(['create', 'ops@example.com', '--admin'])).toContain(
      'ops@example.com has an account, as an administrator.',
    )
    const answer = await app.data(logIn, { input: { email: 'ops@example.com', password: firstPassword } })
    expect(answer).toMatchObject({ logIn: { user: { role: 'ADMIN' } } })
    const token = (await tokenOf('ops@example.com', firstPassword)) ?? ''
    expect(
      await app.data('{ workspace { personal } users { edges { node { email } } } }', {}, { token }),
    ).toMatchObject({
      workspace: { personal: true },
    })
    await expect(users(['create', 'ops@example.com'])).rejects.toMatchObject({ code: 'CONFLICT' })
  })

  test('sets a password, and ends the sessions', async () => {
    await users(['create', 'lost@example.com'])
    const token = (await tokenOf('lost@example.com', firstPassword)) ?? ''
    await users(['set-password', 'Lost@Example.com'], secondPassword)
    expect(await tokenOf('lost@example.com', firstPassword)).toBeNull()
    expect(await tokenOf('lost@example.com', secondPassword)).not.toBeNull()
    const session = await prisma.session.findFirst({ where: { revokedReason: 'PASSWORD_CHANGED' } })
    expect(token).toContain('.')
    expect(session).not.toBeNull()
  })

  test('promotes, disables and enables', async () => {
    await users(['create', 'one@example.com'])
    await users(['create', 'two@example.com'])
    await users(['promote', 'two@example.com'])
    const two = await prisma.user.findUniqueOrThrow({ where: { email: 'two@example.com' } })
    expect(two.role).toBe('ADMIN')
    await users(['disable', 'one@example.com'])
    await until(
      'they are shut out',
      () => tokenOf('one@example.com', firstPassword),
      (token) => token === null,
    )
    await users(['enable', 'one@example.com'])
    expect(await tokenOf('one@example.com', firstPassword)).not.toBeNull()
  })

  test('is written down, with nobody as the actor and no e-mail', async () => {
    await users(['create', 'traced@example.com'])
    const { id } = await prisma.user.findUniqueOrThrow({ where: { email: 'traced@example.com' } })
    const events = await prisma.auditEvent.findMany({ where: { target: id } })
    expect(events).toMatchObject([{ action: 'user.created', actorId: null, details: { role: 'USER' } }])
    expect(JSON.stringify(events)).not.toContain('traced@')
  })

  test.each([
    ['an e-mail that nobody has', ['promote', 'nobody@example.com'], { code: 'NOT_FOUND' }],
    ['what is no e-mail', ['create', 'nobody'], { code: 'BAD_USER_INPUT' }],
  ])('refuses %s', async (_what, args, error) => {
    await expect(users(args)).rejects.toMatchObject(error)
  })

  test('refuses a weak password', async () => {
    await expect(users(['create', 'weak@example.com'], 'password1234')).rejects.toMatchObject({
      code: 'BAD_USER_INPUT',
    })
  })

  test.each([
    [[]],
    [['create']],
    [['frobnicate', 'a@example.com']],
    [['create', 'a@example.com', 'a password as an argument']],
    [['disable', 'a@example.com', '--admin']],
  ])('says how it is used: %j', async (args) => {
    await expect(users(args)).rejects.toThrow(UsageError)
  })
})

describe('monk keys', () => {
  async function run(args: string[], env = app.env): Promise<string[]> {
    const printed: string[] = []
    await keys({ args, env, output: (line) => printed.push(line) })
    return printed
  }

  test('lists every key by its state, and nothing of what it holds', async () => {
    await run(['rotate', '--purpose', 'refresh'])
    const printed = await run(['list'])
    expect(printed.map((line) => line.split(/\s+/).slice(0, 2).join(' '))).toEqual([
      'PURPOSE STATE',
      'JWT_SIGNING CURRENT',
      'CSRF CURRENT',
      'REFRESH CURRENT',
      'REFRESH NEXT',
      'PEPPER CURRENT',
    ])
    const rows = await prisma.keyRow.findMany()
    for (const { encryptedValue } of rows) expect(printed.join('\n')).not.toContain(encryptedValue)
  })

  test('a wrong MONK_SECRET is said, and makes no key', async () => {
    const before = await prisma.keyRow.count()
    const env = { ...app.env, MONK_SECRET: 'another secret of at least 32 characters' }
    await expect(run(['rotate'], env)).rejects.toThrow(WrongSecretError)
    expect(await prisma.keyRow.count()).toBe(before)
  })

  test('work on an installation that does not run', { timeout: 120_000 }, async () => {
    await using place = await makeDataDirectory()
    const env = { NODE_ENV: 'test', MONK_DATA_DIR: place.dataDirectory }
    expect(await run(['list'], env)).toHaveLength(5)
  })

  test.each([[[]], [['rotate', '--purpose']], [['rotate', '--purpose', 'nothing']], [['list', 'all']]])(
    'says how it is used: %j',
    async (args) => {
      await expect(run(args)).rejects.toThrow(UsageError)
    },
  )
})
