import { afterAll, describe, expect, test } from 'vitest'
import type { AppError } from '../../../src/lib/errors.ts'
import { startTestDatabase } from '../../support/test-database.ts'
import { client, newAccount, startAccounts } from './account-fixtures.ts'

const db = await startTestDatabase()
const own = await startAccounts(db)
const { accounts, clock } = own
afterAll(async () => {
  await own[Symbol.asyncDispose]()
  await db[Symbol.asyncDispose]()
})

const dayMs = 24 * 3_600_000
const refresh = (token: string) => accounts.refreshSession(token, client)
const refusal = (token: string): Promise<unknown> =>
  refresh(token).then(
    () => 'taken',
    (error: AppError) => error.details['reason'],
  )

describe('a refresh token', () => {
  test('is exchanged for new tokens of the same session', async () => {
    const signedUp = await accounts.signUp(newAccount(), client)
    clock.advance(60_000)
    const refreshed = await refresh(signedUp.refreshToken)
    expect(refreshed).toMatchObject({ user: signedUp.user, sessionId: signedUp.sessionId })
    expect(refreshed.refreshToken).toMatch(/^[\w-]{43}$/)
    expect(refreshed.refreshToken).not.toBe(signedUp.refreshToken)
    expect(await accounts.authenticate(refreshed.accessToken)).toMatchObject({ viewer: { userId: signedUp.user.id } })
    const session = await db.prisma.session.findUniqueOrThrow({ where: { id: signedUp.sessionId } })
    expect(session.lastUsedAt).toEqual(clock.now())
  })

  test('gives the same child again for 10 s: when an answer was lost, and to many who ask at once', async () => {
    const { refreshToken, sessionId } = await accounts.signUp(newAccount(), client)
    const answers = await Promise.all(Array.from({ length: 6 }, () => refresh(refreshToken)))
    clock.advance(10_000)
    answers.push(await refresh(refreshToken))
    expect(new Set(answers.map((answer) => answer.refreshToken)).size).toBe(1)
    expect(await db.prisma.refreshToken.count({ where: { sessionId } })).toBe(2)
  })

  test('gives the same child again when the refresh key has changed in between', async () => {
    const { refreshToken } = await accounts.signUp(newAccount(), client)
    const child = await refresh(refreshToken)
    await db.prisma.keyRow.updateMany({ where: { purpose: 'REFRESH' }, data: { state: 'RETIRING' } })
    await using rotated = await startAccounts(db)
    const again = await rotated.accounts.refreshSession(refreshToken, client)
    expect(again.refreshToken).toBe(child.refreshToken)
  })

  test('that comes back later ends the session for everybody who has a copy', async () => {
    const { user, sessionId, accessToken, refreshToken } = await accounts.signUp(newAccount(), client)
    const child = await refresh(refreshToken)
    await accounts.authenticate(accessToken)
    clock.advance(11_000)
    expect(await refusal(refreshToken)).toBe('REFRESH_REUSED')
    expect(await refusal(child.refreshToken)).toBe('SESSION_ENDED')
    expect(await refusal(refreshToken)).toBe('SESSION_ENDED')
    await expect(accounts.authenticate(accessToken)).rejects.toMatchObject({ details: { reason: 'SESSION_ENDED' } })
    const session = await db.prisma.session.findUniqueOrThrow({ where: { id: sessionId } })
    expect(session).toMatchObject({ revokedAt: clock.now(), revokedReason: 'REFRESH_REUSED' })
    const events = await db.prisma.auditEvent.findMany({ where: { target: sessionId } })
    expect(events).toEqual([
      expect.objectContaining({
        action: 'session.refresh_reused',
        actorId: null,
        ip: client.ip,
        requestId: client.requestId,
        details: { userId: user.id, refreshTokenId: expect.any(String) },
      }),
    ])
  })

  test('ends the session even within 10 s, when its child has been used already', async () => {
    const { refreshToken } = await accounts.signUp(newAccount(), client)
    const child = await refresh(refreshToken)
    const grandchild = await refresh(child.refreshToken)
    expect(await refusal(refreshToken)).toBe('REFRESH_REUSED')
    expect(await refusal(grandchild.refreshToken)).toBe('SESSION_ENDED')
  })

  test('is not taken after 7 idle days, which is nobody’s theft', async () => {
    const { refreshToken, sessionId } = await accounts.signUp(newAccount(), client)
    clock.advance(7 * dayMs)
    expect(await refusal(refreshToken)).toBe('EXPIRED')
    const session = await db.prisma.session.findUniqueOrThrow({ where: { id: sessionId } })
    expect(session.revokedAt).toBeNull()
  })

  test('is not taken after 30 days, however often it was exchanged', async () => {
    const signedUp = await accounts.signUp(newAccount(), client)
    const endsAt = clock.now().getTime() + 30 * dayMs
    let { refreshToken } = signedUp
    for (let day = 0; day < 29; day += 1) {
      clock.advance(dayMs)
      refreshToken = (await refresh(refreshToken)).refreshToken
    }
    clock.advance(dayMs - 60_000)
    const last = await refresh(refreshToken)
    expect(last.accessTokenExpiresAt.getTime()).toBe(endsAt)
    clock.advance(60_000)
    expect(await refusal(last.refreshToken)).toBe('SESSION_ENDED')
    await expect(accounts.authenticate(last.accessToken)).rejects.toMatchObject({
      details: { reason: 'SESSION_ENDED' },
    })
  })

  test('of a disabled account is not taken', async () => {
    const { user, refreshToken } = await accounts.signUp(newAccount(), client)
    await db.prisma.user.update({ where: { id: user.id }, data: { disabled: true } })
    expect(await refusal(refreshToken)).toBe('ACCOUNT_DISABLED')
  })

  test.each([
    ['nothing', ''],
    ['text', 'not a token'],
    ['one that was never given', 'A'.repeat(43)],
    ['one with a NUL', `${'A'.repeat(42)}\u0000`],
    ['a megabyte', 'A'.repeat(1_000_000)],
  ])('is not: %s', async (_what, token) => {
    expect(await refusal(token)).toBe('INVALID_TOKEN')
  })
})
