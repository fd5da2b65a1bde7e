import { afterAll, describe, expect, test } from 'vitest'
import { createRecentRows } from '../../../src/features/accounts/recent-rows.ts'
import { requireSession } from '../../../src/features/accounts/viewer.ts'
import { startTestDatabase } from '../../support/test-database.ts'
import { client, manualClock, newAccount, startAccounts } from './account-fixtures.ts'

const db = await startTestDatabase()
afterAll(() => db[Symbol.asyncDispose]())

describe('remembered rows', () => {
  type Row = { id: string; value: number }

  function open() {
    const clock = manualClock()
    const table = new Map<string, number>()
    let reads = 0
    /** Runs in the middle of a reading, after the database was asked. */
    let meanwhile: () => void = () => undefined
    const rows = createRecentRows<Row>({
      clock,
      async read(ids) {
        reads += 1
        const found = ids.flatMap((id): [string, Row][] => {
          const value = table.get(id)
          return value === undefined ? [] : [[id, { id, value }]]
        })
        const now = meanwhile
        meanwhile = () => undefined
        now()
        return new Map(found)
      },
    })
    const during = (act: () => void): void => {
      meanwhile = act
    }
    return { clock, table, rows, during, reads: () => reads }
  }

  test('are read once in 30 s', async () => {
    const { clock, table, rows, reads } = open()
    table.set('a', 1)
    for (const afterMs of [0, 10_000, 19_000]) {
      clock.advance(afterMs)
      expect(await rows.get('a')).toEqual({ id: 'a', value: 1 })
    }
    expect(reads()).toBe(1)
    clock.advance(2_000)
    await rows.get('a')
    expect(reads()).toBe(2)
  })

  test('are read again once they are said to have changed, also while they are being read', async () => {
    const { table, rows, during } = open()
    table.set('a', 1)
    await rows.get('a')
    table.set('a', 2)
    rows.forget(({ id }) => id === 'a')
    expect(await rows.get('a')).toEqual({ id: 'a', value: 2 })

    rows.forget(() => true)
    during(() => {
      table.set('a', 3)
      rows.forget(({ id }) => id === 'a')
    })
    // What the database had said was out of date before it arrived.
    expect(await rows.get('a')).toEqual({ id: 'a', value: 3 })
    expect(await rows.get('a')).toEqual({ id: 'a', value: 3 })
  })

  test('that do not exist are not remembered', async () => {
    const { table, rows } = open()
    expect(await rows.get('a')).toBeNull()
    table.set('a', 1)
    expect(await rows.get('a')).toEqual({ id: 'a', value: 1 })
  })
})

test('who stays connected is looked at again without a message', async () => {
  await using here = await startAccounts(db, { sweepEveryMs: 50 })
  // Nothing of what this one announces is heard by the other.
  await using elsewhere = await startAccounts(db)
  const { accessToken } = await here.accounts.signUp(newAccount(), client)
  const { viewer } = await here.accounts.authenticate(accessToken)
  let refused: () => void = () => undefined
  const isRefused = new Promise<void>((resolve) => {
    refused = resolve
  })
  const unwatch = here.accounts.watch(viewer, refused)
  const other = await here.accounts.signUp(newAccount(), client)
  const stays = await here.accounts.authenticate(other.accessToken)
  let wrongly = 0
  here.accounts.watch(stays.viewer, () => (wrongly += 1))
  await elsewhere.accounts.logOut(requireSession(viewer), client)
  await isRefused
  expect(wrongly).toBe(0)
  unwatch()
})
