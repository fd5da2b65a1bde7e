import { AppError, BadUserInputError, type AppErrorOptions, type ErrorCode } from '../lib/errors.ts'

const statuses: { readonly [code in ErrorCode]: number } = {
  BAD_USER_INPUT: 400,
  UNAUTHENTICATED: 401,
  FORBIDDEN: 403,
  NOT_FOUND: 404,
  CONFLICT: 409,
  RATE_LIMITED: 429,
  BUDGET_EXCEEDED: 402,
  MODEL_FAILED: 502,
  SERVER_BUSY: 503,
  SERVICE_UNAVAILABLE: 503,
  GRAPHQL_PARSE_FAILED: 400,
  GRAPHQL_VALIDATION_FAILED: 400,
  METHOD_NOT_ALLOWED: 405,
  INTERNAL_SERVER_ERROR: 500,
}

const statusOfCode = new Map<string, number>(Object.entries(statuses))
const otherFaults: ReadonlySet<string> = new Set([
  'UNAUTHENTICATED',
  'FORBIDDEN',
  'METHOD_NOT_ALLOWED',
  'RATE_LIMITED',
  'SERVER_BUSY',
  'SERVICE_UNAVAILABLE',
  'INTERNAL_SERVER_ERROR',
])

/** The HTTP status of a request that failed as a whole. */
export function statusOf(code: string): number {
  return statusOfCode.get(code) ?? 500
}

/** Whether the operation itself is at fault, and not how it was sent, when, or the server. */
export function isAboutTheOperation(code: string): boolean {
  return !otherFaults.has(code)
}

/** What HTTP has headers for: when to come back, and how to prove who one is. */
export function headersOf({ code, details }: { code: string; details: unknown }): Record<string, string> {
  if (code === 'UNAUTHENTICATED') return { 'www-authenticate': 'Bearer error="invalid_token"' }
  if (code !== 'RATE_LIMITED' || typeof details !== 'object' || details === null) return {}
  const retryAfterMs: unknown = Reflect.get(details, 'retryAfterMs')
  return typeof retryAfterMs === 'number' ? { 'retry-after': String(Math.ceil(retryAfterMs / 1_000)) } : {}
}

/** A request that HTTP has a word of its own for: its status says more than the error's code. */
export class HttpError extends AppError {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>

  constructor(status: number, error: AppError, headers: Readonly<Record<string, string>> = {}) {
    super(error.code, error.message, { details: error.details, suggestions: error.suggestions, cause: error.cause })
    this.name = 'HttpError'
    this.status = status
    this.headers = headers
  }
}

export function methodNotAllowed(allow: string, options: AppErrorOptions = {}): HttpError {
  return new HttpError(405, new AppError('METHOD_NOT_ALLOWED', `This path takes ${allow}.`, options), { allow })
}

export function unsupportedMediaType(): HttpError {
  const message = 'Send the operation as JSON.'
  const suggestions = ['Set "Content-Type: application/json", uncompressed, in UTF-8.']
  return new HttpError(415, new BadUserInputError('content-type', message, { suggestions }))
}

export function notAcceptable(): HttpError {
  const suggestions = ['Accept application/graphql-response+json, application/json or text/event-stream.']
  return new HttpError(406, new BadUserInputError('accept', 'There is no answer of an accepted type.', { suggestions }))
}

export function bodyTooLarge(maxBytes: number): HttpError {
  const error = new BadUserInputError('body', `The body may have at most ${maxBytes} bytes.`, { details: { maxBytes } })
  return new HttpError(413, error)
}
