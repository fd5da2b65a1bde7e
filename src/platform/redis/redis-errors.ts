import { ServiceUnavailableError } from '../../lib/errors.ts'

/**
 * A command of Redis failed. ioredis hangs the command with its arguments on its errors, and loggers print what hangs on an error: a password
 * (AUTH) or the text of an answer (PUBLISH). Nothing of that is handed on.
 */
export class RedisError extends ServiceUnavailableError {
  /** What went wrong, as text that is safe to log. */
  readonly reason: string
  /** Redis answered, and said no: it is not a matter of the connection. */
  readonly isRefusal: boolean

  constructor(error: unknown) {
    const reason = redisReason(error)
    super('Redis cannot be used at present.', { cause: new Error(reason) })
    this.name = 'RedisError'
    this.reason = reason
    this.isRefusal = error instanceof Error && error.name === 'ReplyError'
  }
}

/** What went wrong, as text that is safe to log. */
export function redisReason(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  // Its own message tells of retries, and there are none.
  if (error.name === 'MaxRetriesPerRequestError') return 'The connection was lost.'
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

/** At the start, waiting does not help: wrong credentials, no such database. */
export function isAccessRefusal(error: unknown): boolean {
  return (
    error instanceof Error &&
    /WRONGPASS|NOAUTH|NOPERM|invalid password|without any password|DB index|invalid DB/i.test(redisReason(error))
  )
}
