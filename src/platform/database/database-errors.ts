import { ServerBusyError, ServiceUnavailableError } from '../../lib/errors.ts'
import type { AppError } from '../../lib/errors.ts'

/** True when a unique index refused it; with `constraint`, only when it was that one. */
export const isUniqueViolation = (error: unknown, constraint?: string): boolean => violates(error, '23505', constraint)

/** True when what it refers to is not there, or is still referred to. */
export const isForeignKeyViolation = (error: unknown, constraint?: string): boolean =>
  violates(error, '23503', constraint)

/** True when a CHECK refused it. */
export const isCheckViolation = (error: unknown, constraint?: string): boolean => violates(error, '23514', constraint)

/** The SQLSTATE of the error (five characters), or null when it has none. */
export const sqlStateOf = (error: unknown): string | null => failureOf(error)?.sqlState ?? null

/** Trying again is right: it collided with another transaction, or the connection or the server went away. */
export function isRetryable(error: unknown): boolean {
  const kind = kindOf(error, { sockets: true })
  return kind === 'conflict' || kind === 'lost'
}

/**
 * The error for callers when it was about the database and not about what they asked: no connection in time, a time-out, a
 * lost connection (ServiceUnavailableError), or a collision that repeating did not solve (ServerBusyError). Null for all
 * others. What Database's own methods throw has been through it; what `Database.prisma` throws has not, so the one place
 * that shows errors to callers asks it.
 */
export function translateDatabaseError(error: unknown): AppError | null {
  return toAppError(kindOf(error, { sockets: false }), error)
}

/** The same for an error that certainly came from the database: there a bare ECONNRESET means it, too. */
export function translateConnectionError(error: unknown): AppError | null {
  return toAppError(kindOf(error, { sockets: true }), error)
}

type Kind = 'conflict' | 'lost' | 'timeout'

function toAppError(kind: Kind | null, cause: unknown): AppError | null {
  switch (kind) {
    case null:
      return null
    case 'conflict':
      return new ServerBusyError('Too many changes to the same data at once.', { cause })
    case 'lost':
      return new ServiceUnavailableError('The database cannot be reached.', { cause })
    case 'timeout':
      return new ServiceUnavailableError('The database took too long.', { cause })
  }
}

// Serialization failure, deadlock; P2034 is Prisma's word for both.
const conflicts = new Set(['40001', '40P01', 'P2034'])

// Shut down, crashed, starting up, full; unreachable and closed as Prisma says it.
const losses = new Set(['57P01', '57P02', '57P03', '53300', 'P1001', 'P1017'])

const socketLosses = new Set('ECONNRESET ECONNREFUSED ECONNABORTED EPIPE ETIMEDOUT ENOENT EHOSTUNREACH'.split(' '))

// Statement, lock and idle-in-transaction time-outs; a socket's as Prisma says it.
const timeouts = new Set(['57014', '55P03', '25P03', 'P1008'])

// What pg (8.23) and its pool throw without any code.
const lostMessages = new Set([
  'Connection terminated',
  'Connection terminated unexpectedly',
  'Client was closed and is not queryable',
  'Client has encountered a connection error and is not queryable',
])
const timeoutMessages = new Set([
  'Query read timeout',
  'timeout expired',
  'timeout exceeded when trying to connect',
  'Connection terminated due to connection timeout',
])

function kindOf(error: unknown, { sockets }: { sockets: boolean }): Kind | null {
  for (const link of chainOf(error)) {
    const code = textOf(link, 'originalCode') ?? textOf(link, 'code') ?? ''
    if (conflicts.has(code)) return 'conflict'
    if (timeouts.has(code) || isExpiredTransaction(link, code)) return 'timeout'
    // Class 08: connection exception.
    if (losses.has(code) || /^08[0-9A-Z]{3}$/.test(code)) return 'lost'
    if (sockets && socketLosses.has(code)) return 'lost'
    const message = textOf(link, 'message') ?? ''
    if (timeoutMessages.has(message)) return 'timeout'
    if (lostMessages.has(message)) return 'lost'
  }
  return null
}

// P2028 is also a transaction that is used after its end, which is a bug of ours.
function isExpiredTransaction(link: object, code: string): boolean {
  if (code !== 'P2028') return false
  const tookTooLong = 'meta' in link && isObject(link.meta) && 'timeTaken' in link.meta
  return tookTooLong || (textOf(link, 'message') ?? '').includes('Unable to start a transaction in the given time')
}

function violates(error: unknown, sqlState: string, constraint: string | undefined): boolean {
  const failure = failureOf(error)
  return failure?.sqlState === sqlState && (constraint === undefined || failure.constraint === constraint)
}

function failureOf(error: unknown): { sqlState: string; constraint: string | null } | null {
  for (const link of chainOf(error)) {
    const sqlState = textOf(link, 'originalCode') ?? textOf(link, 'code')
    if (sqlState === null || !isSqlState(sqlState)) continue
    const message = textOf(link, 'originalMessage') ?? textOf(link, 'message') ?? ''
    return { sqlState, constraint: textOf(link, 'constraint') ?? constraintIn(message) }
  }
  return null
}

// Not EPIPE, and not Prisma's P2002: the class P0 is PL/pgSQL's.
const isSqlState = (code: string): boolean => /^(?=.*\d)(?!P[1-9])[0-9A-Z]{5}$/.test(code)

// Prisma hands on the name of a CHECK only inside of the message.
const constraintIn = (message: string): string | null => /constraint "([^"]+)"/.exec(message)?.[1] ?? null

// An error of pg has `code` and `constraint`; Prisma's has a DriverAdapterError in `meta`, whose `cause` has `originalCode`
// and `originalMessage`; ours have either as their `cause`. Bounded, because a cause may be its own cause.
function* chainOf(error: unknown): Generator<object> {
  let link = error
  for (let depth = 0; depth < 8 && isObject(link); depth++) {
    yield link
    link = driverErrorIn(link) ?? ('cause' in link ? link.cause : undefined)
  }
}

const driverErrorIn = (link: object): unknown =>
  'meta' in link && isObject(link.meta) && 'driverAdapterError' in link.meta ? link.meta.driverAdapterError : undefined

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null

function textOf(link: object, key: string): string | null {
  const value: unknown = Reflect.get(link, key)
  return typeof value === 'string' ? value : null
}
