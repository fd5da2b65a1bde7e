import { afterAll, expect, test } from 'vitest'
import { startTestDatabase } from '../../support/test-database.ts'
import { startAccounts } from './account-fixtures.ts'

const db = await startTestDatabase()
afterAll(() => db[Symbol.asyncDispose]())

test('a signature holds for its text only, on every process', async () => {
  await using first = await startAccounts(db)
  await using second = await startAccounts(db)
  const signature = first.accounts.csrf.sign('a session and a nonce')
  expect(signature).toMatch(/^[\w-]{43}$/)
  expect(second.accounts.csrf.isValid('a session and a nonce', signature)).toBe(true)
  expect(second.accounts.csrf.isValid('another session and a nonce', signature)).toBe(false)
  for (const forged of ['', 'x', signature.slice(0, -1), `${signature}AA`, 'A'.repeat(43)]) {
    expect(second.accounts.csrf.isValid('a session and a nonce', forged)).toBe(false)
  }
})
