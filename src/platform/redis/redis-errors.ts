import { ServiceUnavailableError } from '../../lib/errors.ts'

/**
 * The error for callers when a command of Redis failed, for whatever reason. ioredis hangs the command with its arguments on its errors, and
 * loggers print what hangs on an error: a password (AUTH) or the text of an answer (PUBLISH). Nothing of that is handed on.
 */
export function redisUnavailable(error: unknown): ServiceUnavailableError {
  return new ServiceUnavailableError('Redis cannot be used at present.', { cause: new Error(redisReason(error)) })
}

/** What went wrong, as text that is safe to log. */
export function redisReason(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  // A name with several addresses fails with one error for each, and no message of its own.
  if (error instanceof AggregateError && error.errors.length > 0) return redisReason(error.errors[0])
  // "Failed to refresh slots cache.", which says nothing without the reason of the last node.
  if ('lastNodeError' in error && error.lastNodeError instanceof Error)
    return `${error.message} ${redisReason(error.lastNodeError)}`
  return error.message
}

/** The time limit of a command ran out: the line is dead, or the server hangs. */
export function isCommandTimeout(error: unknown): boolean {
  return error instanceof Error && error.message === 'Command timed out'
}

/** Waiting does not help: wrong credentials, no such database. */
export function isRefusal(error: unknown): boolean {
  return (
    error instanceof Error &&
    /WRONGPASS|NOAUTH|NOPERM|invalid password|without any password|DB index|invalid DB/i.test(redisReason(error))
  )
}
