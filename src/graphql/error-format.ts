import { GraphQLError, type GraphQLErrorOptions } from 'graphql'
import { AppError, type ErrorCode } from '../lib/errors.ts'
import { translateDatabaseError } from '../platform/database/database-errors.ts'
import type { Logger } from '../platform/logger.ts'

/** What every error that leaves this server carries in its `extensions`, over HTTP, Server-Sent Events and WebSocket alike. */
export type ErrorExtensions = {
  code: ErrorCode
  /** Facts for a program, such as which argument is wrong. */
  details: Record<string, unknown>
  /** When it happened, ISO 8601. */
  timestamp: string
  /** Finds the error in the server's log. */
  requestId: string
  /** What the caller can do about it. */
  suggestions: readonly string[]
}

export type ErrorScope = {
  requestId: string
  now: Date
  logger: Logger
  /** Aborted when the caller is gone: that work stopped then is no bug. */
  signal?: AbortSignal
}

const internalError = new AppError('INTERNAL_SERVER_ERROR', 'Something went wrong on the server.', {
  suggestions: ['Try again. If it happens again, give the request id to whoever runs this server.'],
})

/** For errors that say nothing better themselves. */
const usualSuggestions: Partial<Record<ErrorCode, readonly string[]>> = {
  BAD_USER_INPUT: ['Correct what `details` names, and send it again.'],
  NOT_FOUND: ['Check the id, and that you are a member of its workspace.'],
  FORBIDDEN: ['Ask somebody whose role allows it.'],
  CONFLICT: ['Look at the present state, and try again.'],
  GRAPHQL_PARSE_FAILED: ['Look at the place in the document that `locations` names.'],
  GRAPHQL_VALIDATION_FAILED: [
    'Compare the document with the schema: GraphiQL shows it, and schema.graphql is all of it.',
  ],
}

const abandoned = new AppError('SERVICE_UNAVAILABLE', 'The operation was abandoned before it was done.')

/**
 * Turns whatever was thrown into the one error format. Only our own AppErrors show what they say. A database that does
 * not answer becomes one. Anything else is a bug, is logged here (once, with its stack) and shown as INTERNAL_SERVER_ERROR.
 */
export function formatError(error: unknown, scope: ErrorScope): GraphQLError {
  const cause = rootCause(error)
  const shown =
    cause instanceof AppError
      ? cause
      : (argumentError(cause) ?? abandonment(cause, scope) ?? databaseError(cause, scope) ?? internalError)
  if (shown === internalError) logBug(cause, error, scope)
  const extensions: ErrorExtensions = {
    code: shown.code,
    details: shown.details,
    timestamp: scope.now.toISOString(),
    requestId: scope.requestId,
    suggestions: shown.suggestions.length > 0 ? shown.suggestions : (usualSuggestions[shown.code] ?? []),
  }
  return new GraphQLError(shown.message, { ...placeOf(error), extensions: { ...extensions } })
}

/** True for what `formatError` made. */
export function isFormatted(error: GraphQLError): boolean {
  return 'requestId' in error.extensions && 'timestamp' in error.extensions
}

/** Where in the document and in the answer it happened. */
function placeOf(error: unknown): GraphQLErrorOptions {
  if (!(error instanceof GraphQLError)) return {}
  const { nodes = null, source = null, positions = null, path = null } = error
  return { nodes, source, positions, path }
}

function rootCause(error: unknown): unknown {
  let cause = error
  while (cause instanceof GraphQLError && cause.originalError) cause = cause.originalError
  return cause
}

// The executor itself refuses an argument in one case that no check before it sees: a nullable variable in a non-null place.
// Its message repeats the value, so only the name is kept.
function argumentError(cause: unknown): AppError | null {
  const name = cause instanceof GraphQLError ? /^Argument "(\w+)" /.exec(cause.message)?.[1] : undefined
  if (name === undefined) return null
  return new AppError('BAD_USER_INPUT', `${name}: It must be given and not null.`, { details: { field: name } })
}

function abandonment(cause: unknown, { signal }: ErrorScope): AppError | null {
  return signal?.aborted === true && cause instanceof Error && cause.name === 'AbortError' ? abandoned : null
}

function databaseError(cause: unknown, { logger, requestId }: ErrorScope): AppError | null {
  const translated = translateDatabaseError(cause)
  if (translated !== null) logger.warn({ err: cause, requestId }, 'an operation could not reach the database')
  return translated
}

function logBug(cause: unknown, error: unknown, { logger, requestId }: ErrorScope): void {
  const path = error instanceof GraphQLError ? error.path?.join('.') : undefined
  logger.error({ err: cause, requestId, path }, 'an operation failed unexpectedly')
}
