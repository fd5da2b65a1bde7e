import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { requireSession } from '../../../src/features/accounts/viewer.ts'
import type { AppError } from '../../../src/lib/errors.ts'
import { createCleanup, type Cleanup } from '../../../src/lib/cleanup.ts'
import { createDatabase } from '../../../src/platform/database/create-database.ts'
import type { Database } from '../../../src/platform/database/database.ts'
import { findPostgres, startPostgresServer } from '../../support/postgres-server.ts'
import { databaseOptions, startTestDatabase } from '../../support/test-database.ts'
import { client, emptyAccounts, newAccount, startAccounts, type TestAccounts } from './account-fixtures.ts'

/** Opens what each of two processes talks to: embedded there is only one, so they share its one connection. */
type Open = (cleanup: Cleanup) => Promise<[Database, Database]>

const openEmbedded: Open = async (cleanup) => {
  const db = await startTestDatabase()
  cleanup.add('the database', async () => db[Symbol.asyncDispose]())
  return [db, db]
}

const programs = findPostgres()
const openOnServer: Open = async (cleanup) => {
  const server = await startPostgresServer(programs ?? '')
  cleanup.add('the server', async () => server[Symbol.asyncDispose]())
  const url = await server.createDatabase()
  const connect = async (): Promise<Database> => {
    const db = await createDatabase(databaseOptions({ url, dataDirectory: '' }))
    cleanup.add('the connections', () => db.close())
    return db
  }
  return [await connect(), await connect()]
}

const kinds: [string, Open][] = programs === null ? [] : [['PostgreSQL', openOnServer]]
const times = <T>(count: number, work: (index: number) => Promise<T>): Promise<T[]> =>
  Promise.all(Array.from({ length: count }, (_, index) => work(index)))

describe.each([['the embedded database', openEmbedded] as [string, Open], ...kinds])(
  'on %s, of what two processes do at the same moment',
  (_kind, open) => {
    const cleanup = createCleanup()
    let databases: [Database, Database]
    let processes: [TestAccounts, TestAccounts]
    const accountsOf = (index: number) => processes[index % 2 === 0 ? 0 : 1].accounts

    beforeAll(async () => {
      databases = await open(cleanup)
      const [one, two] = databases
      processes = await Promise.all([startAccounts(one), startAccounts(two)])
      cleanup.add('the processes', async () => {
        await Promise.all(processes.map((process) => process[Symbol.asyncDispose]()))
      })
    })
    afterAll(() => cleanup.run())
    beforeEach(async () => {
      await emptyAccounts(databases[0])
    })

    test('the keys of a fresh server are made once', async () => {
      const keys = await databases[0].prisma.keyRow.findMany()
      expect(keys.map(({ purpose, state }) => `${purpose} ${state}`).toSorted()).toEqual([
        'CSRF CURRENT',
        'JWT_SIGNING CURRENT',
        'PEPPER CURRENT',
        'REFRESH CURRENT',
      ])
      const { accessToken } = await accountsOf(0).signUp(newAccount(), client)
      await expect(accountsOf(1).authenticate(accessToken)).resolves.toMatchObject({ viewer: {} })
    })

    test('exactly one sign-up makes the administrator', async () => {
      const signedUp = await times(8, (index) => accountsOf(index).signUp(newAccount(), client))
      expect(signedUp.filter(({ user }) => user.role === 'ADMIN')).toHaveLength(1)
    })

    test('one of two sign-ups gets the e-mail, and nothing is left of the other', async () => {
      const input = newAccount()
      const outcomes = await times(2, (index) =>
        accountsOf(index)
          .signUp(input, client)
          .then(
            () => 'OK',
            ({ code }: AppError) => code,
          ),
      )
      expect(outcomes.toSorted()).toEqual(['CONFLICT', 'OK'])
      expect(await databases[0].prisma.workspace.count()).toBe(1)
      expect(await databases[0].prisma.auditEvent.count()).toBe(1)
    })

    test('all refreshes with one token get the same child', async () => {
      const { refreshToken } = await accountsOf(0).signUp(newAccount(), client)
      const refreshed = await times(8, (index) => accountsOf(index).refreshSession(refreshToken, client))
      expect(new Set(refreshed.map((tokens) => tokens.refreshToken)).size).toBe(1)
      expect(await databases[0].prisma.refreshToken.count()).toBe(2)
    })

    test('a reuse is found once, and the session is over for all', async () => {
      const { refreshToken, sessionId } = await accountsOf(0).signUp(newAccount(), client)
      const child = await accountsOf(0).refreshSession(refreshToken, client)
      await accountsOf(0).refreshSession(child.refreshToken, client)
      const reasons = await times(6, (index) =>
        accountsOf(index)
          .refreshSession(refreshToken, client)
          .then(
            () => 'taken',
            ({ details }: AppError) => String(details['reason']),
          ),
      )
      expect(reasons.filter((reason) => reason !== 'SESSION_ENDED')).toEqual(['REFRESH_REUSED'])
      expect(await databases[0].prisma.auditEvent.count({ where: { target: sessionId } })).toBe(1)
    })

    test('a log-out and a refresh leave a session that has ended', async () => {
      const { refreshToken, accessToken } = await accountsOf(0).signUp(newAccount(), client)
      const { viewer } = await accountsOf(0).authenticate(accessToken)
      const [refreshed] = await Promise.allSettled([
        accountsOf(1).refreshSession(refreshToken, client),
        accountsOf(0).logOut(requireSession(viewer), client),
      ])
      const newest = refreshed.status === 'fulfilled' ? refreshed.value.refreshToken : refreshToken
      await expect(accountsOf(1).refreshSession(newest, client)).rejects.toMatchObject({
        details: { reason: 'SESSION_ENDED' },
      })
      await expect(accountsOf(0).authenticate(accessToken)).rejects.toMatchObject({ code: 'UNAUTHENTICATED' })
    })
  },
)
