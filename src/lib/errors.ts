/** Every code a caller may meet, and nothing else. GraphQL shows it as `extensions.code`. */
export const errorCodes = [
  'BAD_USER_INPUT',
  'UNAUTHENTICATED',
  'FORBIDDEN',
  'NOT_FOUND',
  'CONFLICT',
  'RATE_LIMITED',
  'BUDGET_EXCEEDED',
  'MODEL_FAILED',
  'SERVER_BUSY',
  'SERVICE_UNAVAILABLE',
  'GRAPHQL_PARSE_FAILED',
  'GRAPHQL_VALIDATION_FAILED',
  'METHOD_NOT_ALLOWED',
  'INTERNAL_SERVER_ERROR',
] as const

export type ErrorCode = (typeof errorCodes)[number]

export type AppErrorOptions = {
  /** Facts for a program: which field, which limit, what was found. Never a secret, SQL or a stack. */
  details?: Record<string, unknown>
  /** What the caller can do about it, one sentence each. */
  suggestions?: readonly string[]
  cause?: unknown
}

/** An error a caller may handle. Everything else that is thrown is a bug and is shown as INTERNAL_SERVER_ERROR. */
export class AppError extends Error {
  readonly code: ErrorCode
  readonly details: Record<string, unknown>
  readonly suggestions: readonly string[]

  constructor(code: ErrorCode, message: string, options: AppErrorOptions = {}) {
    super(message, { cause: options.cause })
    this.name = 'AppError'
    this.code = code
    this.details = options.details ?? {}
    this.suggestions = options.suggestions ?? []
  }
}

/** An argument is wrong; `field` is its path, dotted, as the caller wrote it: `input.models.0`. */
export class BadUserInputError extends AppError {
  constructor(field: string, message: string, options: AppErrorOptions = {}) {
    super('BAD_USER_INPUT', message, { ...options, details: { field, ...options.details } })
    this.name = 'BadUserInputError'
  }
}

/** No valid credentials came with the request. */
export class UnauthenticatedError extends AppError {
  constructor(message = 'You are not signed in.', options: AppErrorOptions = {}) {
    super('UNAUTHENTICATED', message, {
      suggestions: ['Send an access token of logIn or signUp as "Authorization: Bearer <token>".'],
      ...options,
    })
    this.name = 'UnauthenticatedError'
  }
}

/** The caller is known, can see the thing, and may not do this with it. */
export class ForbiddenError extends AppError {
  constructor(message: string, options: AppErrorOptions = {}) {
    super('FORBIDDEN', message, options)
    this.name = 'ForbiddenError'
  }
}

/** It does not exist, or belongs to somebody else: the two look the same on purpose. */
export class NotFoundError extends AppError {
  constructor(what: string, options: AppErrorOptions = {}) {
    super('NOT_FOUND', `There is no such ${what}.`, options)
    this.name = 'NotFoundError'
  }
}

/** It clashes with what is there: a taken e-mail, a stale version, a reused key. */
export class ConflictError extends AppError {
  constructor(message: string, options: AppErrorOptions = {}) {
    super('CONFLICT', message, options)
    this.name = 'ConflictError'
  }
}

/** Too often; `details.retryAfterMs` says when there is room again. */
export class RateLimitedError extends AppError {
  readonly retryAfterMs: number

  constructor(message: string, retryAfterMs: number, options: AppErrorOptions = {}) {
    const seconds = Math.max(1, Math.ceil(retryAfterMs / 1_000))
    super('RATE_LIMITED', message, {
      suggestions: [`Try again in ${seconds} s.`],
      ...options,
      details: { retryAfterMs: seconds * 1_000, ...options.details },
    })
    this.name = 'RateLimitedError'
    this.retryAfterMs = seconds * 1_000
  }
}

/** Too much at once here; trying again soon is right. */
export class ServerBusyError extends AppError {
  constructor(message: string, options: AppErrorOptions = {}) {
    super('SERVER_BUSY', message, { suggestions: ['Try again in a moment.'], ...options })
    this.name = 'ServerBusyError'
  }
}

/** Something this server depends on does not answer. */
export class ServiceUnavailableError extends AppError {
  constructor(message: string, options: AppErrorOptions = {}) {
    super('SERVICE_UNAVAILABLE', message, { suggestions: ['Try again in a moment.'], ...options })
    this.name = 'ServiceUnavailableError'
  }
}

/** What was asked for could not be reached or has no room now: the same may well succeed later. */
export function isOutage(error: unknown): boolean {
  return error instanceof ServiceUnavailableError || error instanceof ServerBusyError
}
