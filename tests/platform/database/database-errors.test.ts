import { expect, test } from 'vitest'
import {
  isRetryable,
  isUniqueViolation,
  translateDatabaseError,
} from '../../../src/platform/database/database-errors.ts'

const withCode = (code: string, cause?: unknown) => Object.assign(new Error(code, { cause }), { code })

test.each([
  ['40001', 'SERVER_BUSY', true],
  ['40P01', 'SERVER_BUSY', true],
  ['P2034', 'SERVER_BUSY', true],
  ['57P01', 'SERVICE_UNAVAILABLE', true],
  ['08006', 'SERVICE_UNAVAILABLE', true],
  ['P1017', 'SERVICE_UNAVAILABLE', true],
  ['57014', 'SERVICE_UNAVAILABLE', false],
  ['25P03', 'SERVICE_UNAVAILABLE', false],
  ['23505', undefined, false],
  ['P0001', undefined, false],
])('shows %s as %s; tries again: %s', (code, shown, retried) => {
  expect(translateDatabaseError(withCode(code))?.code).toBe(shown)
  expect(translateDatabaseError(new Error('outer', { cause: withCode(code) }))?.code).toBe(shown)
  expect(isRetryable(withCode(code))).toBe(retried)
})

test('does not take a connection lost to somebody else for the database', () => {
  expect(translateDatabaseError(withCode('ECONNREFUSED'))).toBeNull()
  expect(isRetryable(withCode('ECONNREFUSED'))).toBe(true)
})

test('takes no notice of what is not an error, or is its own cause', () => {
  const circular = new Error('circular')
  circular.cause = circular
  for (const error of [null, undefined, 'text', 5, {}, circular, withCode('EPIPE')]) {
    expect(isUniqueViolation(error)).toBe(false)
    expect(translateDatabaseError(error)).toBeNull()
  }
})
