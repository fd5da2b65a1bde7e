import { afterAll, describe, expect, test } from 'vitest'
import { requireSession } from '../../../src/features/accounts/viewer.ts'
import type { AppError } from '../../../src/lib/errors.ts'
import { createHash } from 'node:crypto'
import { startTestDatabase } from '../../support/test-database.ts'
import {
  client,
  emptyAccounts,
  goodPassword,
  newAccount,
  startAccounts,
  type TestAccounts,
} from './account-fixtures.ts'

const db = await startTestDatabase()
const own: TestAccounts = await startAccounts(db)
const { accounts, clock } = own
afterAll(async () => {
  await own[Symbol.asyncDispose]()
  await db[Symbol.asyncDispose]()
})

const emptyServer = async (): Promise<void> => {
  await emptyAccounts(db)
}
const auditOf = (target: string) =>
  db.prisma.auditEvent.findMany({ where: { target }, orderBy: { id: 'asc' }, omit: { id: true, at: true } })
const origin = { ip: client.ip, requestId: client.requestId, workspaceId: null }

describe('signing up', () => {
  test('makes the account, its personal workspace and its session, and tells the audit log', async () => {
    const { email, password } = newAccount()
    const { user, sessionId } = await accounts.signUp({ email: ` ${email.toUpperCase()}`, password }, client)

    expect(user).toMatchObject({ email, disabled: false, createdAt: clock.now() })
    const workspace = await db.prisma.workspace.findUniqueOrThrow({
      where: { personalOfId: user.id },
      include: { counter: true, members: true },
    })
    expect(workspace).toMatchObject({
      name: 'Personal',
      counter: { feedSeq: 0n },
      members: [{ userId: user.id, role: 'OWNER' }],
    })
    const session = await db.prisma.session.findUniqueOrThrow({ where: { id: sessionId } })
    expect(session).toMatchObject({ userId: user.id, ip: client.ip, userAgent: client.userAgent, revokedAt: null })
    expect(session.expiresAt).toEqual(new Date('2026-03-31T12:00:00.000Z'))
    expect(await auditOf(user.id)).toEqual([
      {
        ...origin,
        action: 'user.signed_up',
        actorId: user.id,
        target: user.id,
        details: { role: user.role, sessionId },
      },
    ])
  })

  test('gives tokens that work', async () => {
    const signedUp = await accounts.signUp(newAccount(), client)
    const { viewer, expiresAt } = await accounts.authenticate(signedUp.accessToken)
    expect(expiresAt).toEqual(signedUp.accessTokenExpiresAt)
    expect(viewer).toEqual({ userId: signedUp.user.id, sessionId: signedUp.sessionId, role: signedUp.user.role })
    expect(await accounts.viewerUser(viewer)).toEqual(signedUp.user)
    expect(signedUp.accessTokenExpiresAt).toEqual(new Date('2026-03-01T12:10:00.000Z'))
  })

  test('stores neither the password nor a token', async () => {
    const input = newAccount()
    const { accessToken, refreshToken } = await accounts.signUp(input, client)
    const rows = JSON.stringify([
      await db.prisma.user.findMany(),
      await db.prisma.session.findMany(),
      await db.prisma.auditEvent.findMany(),
      await db.prisma.refreshToken.findMany(),
    ])
    for (const private_ of [input.password, accessToken, refreshToken]) expect(rows).not.toContain(private_)
    const tokenHash = new Uint8Array(createHash('sha256').update(refreshToken).digest())
    expect(await db.prisma.refreshToken.findUnique({ where: { tokenHash } })).not.toBeNull()
    expect(JSON.stringify(await db.prisma.auditEvent.findMany())).not.toContain(input.email)
  })

  test('refuses a second account with the same e-mail, however it is written', async () => {
    const { email, password } = newAccount()
    await accounts.signUp({ email, password }, client)
    const error = await accounts.signUp({ email: email.toUpperCase(), password }, client).catch((e: AppError) => e)
    expect(error).toMatchObject({ code: 'CONFLICT', details: { field: 'input.email' } })
  })

  test.each([
    ['input.email', { email: 'nobody', password: goodPassword }],
    ['input.password', { email: 'weak@example.com', password: 'passwordpassword' }],
  ])('refuses a wrong %s by name', async (field, input) => {
    await expect(accounts.signUp(input, client)).rejects.toMatchObject({
      code: 'BAD_USER_INPUT',
      details: expect.objectContaining({ field }),
    })
  })
})

describe('the first administrator', () => {
  test('is who signs up first', async () => {
    await emptyServer()
    expect((await accounts.signUp(newAccount(), client)).user.role).toBe('ADMIN')
    expect((await accounts.signUp(newAccount(), client)).user.role).toBe('USER')
  })

  const token = 'the bootstrap token'
  test.each([
    ['no token', undefined, 'USER'],
    ['a wrong token', 'the bootstrap tokem', 'USER'],
    ['an empty token', '', 'USER'],
    ['the token', token, 'ADMIN'],
  ])('is, where a token is asked for, who presents it: %s', async (_what, bootstrapToken, role) => {
    await emptyServer()
    await using production = await startAccounts(db, { firstAdmin: { kind: 'token', token } })
    const { user } = await production.accounts.signUp({ ...newAccount(), bootstrapToken }, client)
    expect(user.role).toBe(role)
  })

  test('is nobody where the token is asked for and none is configured', async () => {
    await emptyServer()
    await using production = await startAccounts(db, { firstAdmin: { kind: 'token', token: null } })
    const { user } = await production.accounts.signUp({ ...newAccount(), bootstrapToken: '' }, client)
    expect(user.role).toBe('USER')
  })

  test('is not joined by a second one who knows the token, nor kept out by a stranger who was faster', async () => {
    await emptyServer()
    await using production = await startAccounts(db, { firstAdmin: { kind: 'token', token } })
    await production.accounts.signUp(newAccount(), client)
    const signUp = () => production.accounts.signUp({ ...newAccount(), bootstrapToken: token }, client)
    const both = await Promise.all([signUp(), signUp()])
    expect(both.map(({ user }) => user.role).toSorted()).toEqual(['ADMIN', 'USER'])
  })
})

describe('logging in', () => {
  test('opens another session, and tells the audit log', async () => {
    const input = newAccount()
    const { user } = await accounts.signUp(input, client)
    const { sessionId, accessToken } = await accounts.logIn({ ...input, email: ` ${input.email} ` }, client)
    const { viewer } = await accounts.authenticate(accessToken)
    expect(viewer).toEqual({ userId: user.id, sessionId, role: user.role })
    expect(await accounts.sessions(viewer)).toHaveLength(2)
    expect(await auditOf(user.id)).toEqual([
      expect.objectContaining({ action: 'user.signed_up' }),
      { ...origin, action: 'user.logged_in', actorId: user.id, target: user.id, details: { sessionId } },
    ])
  })

  test('answers a wrong password and an unknown e-mail with the same words', async () => {
    const input = newAccount()
    const { user } = await accounts.signUp(input, client)
    const attempts = [
      { email: input.email, password: 'not the password' },
      { email: input.email, password: '' },
      { email: input.email, password: 'x'.repeat(100_000) },
      { email: 'nobody@example.com', password: input.password },
      { email: 'nobody\u0000@example.com', password: input.password },
      { email: '', password: input.password },
      { email: 'x'.repeat(100_000), password: input.password },
    ]
    const errors = await Promise.all(
      attempts.map((attempt) => accounts.logIn(attempt, client).catch((e: AppError) => e)),
    )
    for (const error of errors) {
      expect(error).toMatchObject({
        code: 'UNAUTHENTICATED',
        message: 'The e-mail or the password is wrong.',
        details: { reason: 'WRONG_CREDENTIALS' },
      })
    }
    const failure = { ...origin, action: 'user.log_in_failed', actorId: null, details: { reason: 'WRONG_CREDENTIALS' } }
    expect((await auditOf(user.id)).slice(1)).toEqual(
      Array.from({ length: 3 }, () => ({ ...failure, target: user.id })),
    )
  })

  test('is refused to a disabled account, but only to who knows its password', async () => {
    const input = newAccount()
    const { user } = await accounts.signUp(input, client)
    await db.prisma.user.update({ where: { id: user.id }, data: { disabled: true } })
    await expect(accounts.logIn(input, client)).rejects.toMatchObject({ details: { reason: 'ACCOUNT_DISABLED' } })
    await expect(accounts.logIn({ ...input, password: 'not the password' }, client)).rejects.toMatchObject({
      details: { reason: 'WRONG_CREDENTIALS' },
    })
    expect(await db.prisma.session.count({ where: { userId: user.id } })).toBe(1)
  })
})

describe('a session', () => {
  test('ends with logOut: here at once, in another process within 30 s', async () => {
    const { user, accessToken, refreshToken, sessionId } = await accounts.signUp(newAccount(), client)
    await using elsewhere = await startAccounts(db)
    const { viewer } = await elsewhere.accounts.authenticate(accessToken)

    await accounts.logOut(requireSession(viewer), client)
    await expect(accounts.authenticate(accessToken)).rejects.toMatchObject({
      code: 'UNAUTHENTICATED',
      details: { reason: 'SESSION_ENDED' },
    })
    await expect(accounts.refreshSession(refreshToken, client)).rejects.toMatchObject({
      details: { reason: 'SESSION_ENDED' },
    })
    expect(await accounts.sessions(viewer)).toEqual([])

    elsewhere.clock.advance(29_000)
    await expect(elsewhere.accounts.authenticate(accessToken)).resolves.toMatchObject({ viewer })
    elsewhere.clock.advance(2_000)
    await expect(elsewhere.accounts.authenticate(accessToken)).rejects.toMatchObject({
      details: { reason: 'SESSION_ENDED' },
    })
    expect((await auditOf(user.id)).slice(1)).toEqual([
      { ...origin, action: 'user.logged_out', actorId: user.id, target: user.id, details: { sessionId } },
    ])
  })

  test('is ended once by two who log out at once', async () => {
    const { user, accessToken } = await accounts.signUp(newAccount(), client)
    const viewer = requireSession((await accounts.authenticate(accessToken)).viewer)
    await Promise.all([accounts.logOut(viewer, client), accounts.logOut(viewer, client)])
    expect(await auditOf(user.id)).toHaveLength(2)
  })

  test('of a disabled account is refused', async () => {
    const { user, accessToken } = await accounts.signUp(newAccount(), client)
    await db.prisma.user.update({ where: { id: user.id }, data: { disabled: true } })
    await expect(accounts.authenticate(accessToken)).rejects.toMatchObject({
      code: 'UNAUTHENTICATED',
      details: { reason: 'ACCOUNT_DISABLED' },
    })
  })

  test('that was deleted is refused', async () => {
    const { accessToken, sessionId } = await accounts.signUp(newAccount(), client)
    await db.prisma.session.delete({ where: { id: sessionId } })
    await expect(accounts.authenticate(accessToken)).rejects.toMatchObject({ details: { reason: 'SESSION_ENDED' } })
  })

  test('is asked for in the database once in 30 s', async () => {
    const { accessToken, user } = await accounts.signUp(newAccount(), client)
    await accounts.authenticate(accessToken)
    await db.prisma.user.update({ where: { id: user.id }, data: { role: 'ADMIN' } })
    expect(await accounts.authenticate(accessToken)).toMatchObject({ viewer: { role: user.role } })
    clock.advance(30_001)
    expect(await accounts.authenticate(accessToken)).toMatchObject({ viewer: { role: 'ADMIN' } })
  })

  test('is listed to its own user only, while it can be used', async () => {
    const input = newAccount()
    const first = await accounts.signUp(input, client)
    clock.advance(60_000)
    const second = await accounts.logIn(input, { ...client, userAgent: `agent\u202e ${'x'.repeat(1_000)}` })
    await accounts.signUp(newAccount(), client)
    const { viewer } = await accounts.authenticate(second.accessToken)
    const sessions = await accounts.sessions(viewer)
    expect(sessions.map(({ id }) => id)).toEqual([second.sessionId, first.sessionId])
    expect(sessions[0]?.userAgent).toBe(`agent ${'x'.repeat(505)}`)
    clock.advance(7 * 24 * 3_600_000 - 30_000)
    expect((await accounts.sessions(viewer)).map(({ id }) => id)).toEqual([second.sessionId])
  })
})
