import { createLocalJWKSet, decodeProtectedHeader, jwtVerify, type JSONWebKeySet } from 'jose'
import { afterAll, describe, expect, test } from 'vitest'
import { createKeyEncryption } from '../../../src/features/accounts/key-encryption.ts'
import {
  createKeyRotation,
  defaultKeyTimings,
  type KeyRotation,
  type KeyTimings,
} from '../../../src/features/accounts/key-rotation.ts'
import { openKeyRows } from '../../../src/features/accounts/key-rows.ts'
import { keyPurposes } from '../../../src/features/accounts/key.ts'
import { keys as keysCommand } from '../../../src/cli/keys.ts'
import { newId } from '../../../src/lib/ids.ts'
import { createLogger } from '../../../src/platform/logger.ts'
import { startTestApp, type TestApp } from '../../support/test-app.ts'
import { startTestDatabase } from '../../support/test-database.ts'
import { until } from '../../support/until.ts'
import { client, manualClock, newAccount, secret, startAccounts } from './account-fixtures.ts'

const minute = 60_000
const logger = createLogger({ level: 'silent' })

describe('a rotation', async () => {
  const db = await startTestDatabase()
  afterAll(() => db[Symbol.asyncDispose]())
  const clock = manualClock()
  const deps = { db, clock, newId, timings: defaultKeyTimings }
  const rotation: KeyRotation = createKeyRotation({ ...deps, encryption: createKeyEncryption(secret) })

  const statesOf = async (purpose: string): Promise<string[]> =>
    (await rotation.list()).filter((key) => key.purpose === purpose).map(({ state }) => state)

  test('goes from NEXT to CURRENT after a minute, and from RETIRING to RETIRED when nothing needs the old key', async () => {
    await using own = await startAccounts(db, { clock })
    const { accounts } = own
    const account = newAccount()
    const { user } = await accounts.signUp(account, client)
    const keys = await openKeyRows({ ...deps, secret, logger })
    const old = keys.current('JWT_SIGNING')

    const started = await rotation.start(keyPurposes)
    expect(started.map(({ state }) => state)).toEqual(keyPurposes.map(() => 'NEXT'))
    expect(await rotation.start(keyPurposes)).toEqual(started)
    await keys.reload()
    expect(keys.current('JWT_SIGNING').id).toBe(old.id)
    expect(keys.usable('JWT_SIGNING')).toHaveLength(2)

    clock.advance(minute)
    await keys.reload()
    expect(keys.current('JWT_SIGNING').id).not.toBe(old.id)
    expect(keys.find('JWT_SIGNING', old.id)?.state).toBe('RETIRING')
    for (const purpose of keyPurposes) expect(await statesOf(purpose)).toEqual(['RETIRING', 'CURRENT'])

    clock.advance(15 * minute)
    await keys.reload()
    expect(keys.find('JWT_SIGNING', old.id)).toBeNull()
    expect(await statesOf('JWT_SIGNING')).toEqual(['RETIRED', 'CURRENT'])
    expect(await statesOf('REFRESH')).toEqual(['RETIRED', 'CURRENT'])
    // Signed for a week, and the password of somebody who has not logged in since.
    expect(await statesOf('CSRF')).toEqual(['RETIRING', 'CURRENT'])
    expect(await statesOf('PEPPER')).toEqual(['RETIRING', 'CURRENT'])
    await keys.close()

    await using restarted = await startAccounts(db, { clock })
    await restarted.accounts.logIn(account, client)
    const { passwordHash } = await db.prisma.user.findUniqueOrThrow({ where: { id: user.id } })
    expect(passwordHash).toContain(
      (await rotation.list()).find(({ purpose, state }) => purpose === 'PEPPER' && state === 'CURRENT')?.id,
    )
    expect(await rotation.advance()).toBe(true)
    expect(await statesOf('PEPPER')).toEqual(['RETIRED', 'CURRENT'])
    await restarted.accounts.logIn(account, client)
    const retired = await db.prisma.keyRow.findMany({ where: { state: 'RETIRED' } })
    expect(retired.map(({ encryptedValue }) => encryptedValue)).toEqual(['', '', ''])
    const actions = await db.prisma.auditEvent.findMany({ where: { action: { startsWith: 'key.' } } })
    expect(actions.filter(({ action }) => action === 'key.rotation_started')).toHaveLength(keyPurposes.length)
    expect(actions.filter(({ action }) => action === 'key.activated')).toHaveLength(keyPurposes.length)
  })

  test('of one purpose leaves the others alone, and its steps are taken once by many', async () => {
    const before = await statesOf('JWT_SIGNING')
    await rotation.start(['REFRESH'])
    clock.advance(minute)
    await Promise.all(Array.from({ length: 5 }, () => rotation.advance()))
    expect(await statesOf('REFRESH')).toEqual(['RETIRED', 'RETIRING', 'CURRENT'])
    expect(await statesOf('JWT_SIGNING')).toEqual(before)
    expect(await rotation.advance()).toBe(false)
  })
})

describe('in the middle of traffic', () => {
  const timings: KeyTimings = { ...defaultKeyTimings, reloadEveryMs: 200, publishForMs: 2_000 }

  test('no request fails', { timeout: 120_000 }, async () => {
    await using app = await startTestApp({ overrides: { keyTimings: timings } })
    const before = await currentKeys(app)
    const traffic = await startTraffic(app)
    const printed: string[] = []
    await keysCommand({ args: ['rotate'], env: app.env, output: (line) => printed.push(line) })
    expect(printed.filter((line) => line.endsWith('NEXT'))).toHaveLength(keyPurposes.length)
    await until(
      'every key was rotated',
      () => currentKeys(app),
      (now) => now.every((id) => !before.includes(id)),
      60_000,
    )
    // Some more with the new keys, on every path.
    await traffic.untilMore(3)
    const { requests, failures } = await traffic.stop()
    expect(failures).toEqual([])
    expect(requests).toBeGreaterThan(20)

    const { token } = await app.signUp()
    expect(before).not.toContain(decodeProtectedHeader(token).kid)
    const jwks: JSONWebKeySet = await (await app.request('/.well-known/jwks.json')).json()
    await expect(jwtVerify(token, createLocalJWKSet(jwks))).resolves.toBeDefined()
  })
})

/** The ids of the keys that new things are made with, by purpose. */
async function currentKeys(app: TestApp): Promise<string[]> {
  const rows = await app.services.db.prisma.keyRow.findMany({ where: { state: 'CURRENT' } })
  return rows.map(({ id }) => id)
}

type Traffic = { untilMore(rounds: number): Promise<void>; stop(): Promise<{ requests: number; failures: unknown[] }> }

const refreshMutation =
  'mutation ($token: String) { refreshSession(input: { refreshToken: $token }) { accessToken refreshToken } }'
const logInMutation = 'mutation ($input: LogInInput!) { logIn(input: $input) { accessToken refreshToken } }'

type Tokens = { accessToken: string; refreshToken: string }

/** Four people who query, refresh, log in, and come back with tokens and signatures of before, one request after another. */
async function startTraffic(app: TestApp): Promise<Traffic> {
  const stopped = new AbortController()
  const failures: unknown[] = []
  let requests = 0
  let rounds = 0

  async function ask<Data>(document: string, variables: object, token?: string): Promise<Data | null> {
    requests += 1
    const options = token === undefined ? {} : { token }
    const { data, errors } = await app.graphql<Data>(document, { ...variables }, options)
    if (errors !== undefined) failures.push(errors)
    return data ?? null
  }

  async function person(): Promise<void> {
    const user = await app.signUp()
    const oldSignature = app.services.accounts.csrf.sign('before')
    let tokens: Tokens = { accessToken: user.token, refreshToken: user.refreshToken }
    while (!stopped.signal.aborted) {
      await ask('{ viewer { user { id } } }', {}, tokens.accessToken)
      // The very first token, too: it is good for ten minutes, whatever has happened to its key.
      await ask('{ viewer { user { id } } }', {}, user.token)
      const parent = tokens.refreshToken
      const refreshed = await ask<{ refreshSession: Tokens }>(refreshMutation, { token: parent })
      // Once more, as if the answer had been lost: the child may have been minted with another key than the present one.
      const repeated = await ask<{ refreshSession: Tokens }>(refreshMutation, { token: parent })
      if (refreshed?.refreshSession.refreshToken !== repeated?.refreshSession.refreshToken)
        failures.push('another child')
      tokens = refreshed?.refreshSession ?? tokens
      await ask(logInMutation, { input: { email: user.email, password: user.password } })
      if (!app.services.accounts.csrf.isValid('before', oldSignature))
        failures.push('a signature is not valid any more')
      rounds += 1
    }
  }

  const people = Promise.all(Array.from({ length: 4 }, person))
  return {
    async untilMore(count) {
      const from = rounds
      await until(
        'more traffic',
        async () => rounds,
        (now) => now >= from + count * 4,
        60_000,
      )
    },
    async stop() {
      stopped.abort()
      await people
      return { requests, failures }
    },
  }
}
