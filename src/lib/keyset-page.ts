import { BadUserInputError } from './errors.ts'
import { isUuid } from './ids.ts'

/** The arguments of a Relay connection, already checked for size and for going one way only. */
export type PageArguments = {
  first?: number | null | undefined
  after?: string | null | undefined
  last?: number | null | undefined
  before?: string | null | undefined
}

/** Where a row is in a list, newest first: by creation time, then id. */
export type PagePosition = { createdAt: Date; id: string }

/** One page of a list. `backward`: the `limit` rows before the position (or the oldest), otherwise those after it (the newest). */
export type PageRequest = { limit: number; backward: boolean; position: PagePosition | null }

export type Page<Row> = {
  edges: { cursor: string; node: Row }[]
  pageInfo: {
    hasNextPage: boolean
    hasPreviousPage: boolean
    startCursor: string | null
    endCursor: string | null
  }
}

/** The bounds of one page of any list. */
export const maxPageSize = 100
export const defaultPageSize = 20

const endOfTimeMs = Date.UTC(9999, 11, 31)

/** Reads the arguments of a connection. Throws BadUserInputError naming `after` or `before` for a cursor that is not ours. */
export function parsePageArguments({ first, after, last, before }: PageArguments): PageRequest {
  const backward = last != null || before != null
  return {
    limit: first ?? last ?? defaultPageSize,
    backward,
    position: backward ? parseCursor('before', before) : parseCursor('after', after),
  }
}

/**
 * Cuts a page from the rows found for `request`: at most `limit + 1`, in the order of the search (newest first when it goes
 * forward, oldest first when it goes backward). The row too many says that there is more in that direction; in the other
 * direction there is what the cursor came from.
 */
export function toPage<Row extends PagePosition>(rows: readonly Row[], request: PageRequest): Page<Row> {
  const { limit, backward, position } = request
  const found = rows.slice(0, limit)
  const edges = (backward ? found.toReversed() : found).map((node) => ({ cursor: pageCursor(node), node }))
  const isMore = rows.length > limit
  const isAfterOther = position !== null
  return {
    edges,
    pageInfo: {
      hasNextPage: backward ? isAfterOther : isMore,
      hasPreviousPage: backward ? isMore : isAfterOther,
      startCursor: edges.at(0)?.cursor ?? null,
      endCursor: edges.at(-1)?.cursor ?? null,
    },
  }
}

/** The row's position itself, so that a page goes on where it was also when the row is gone: milliseconds and id, base64url. */
function pageCursor({ createdAt, id }: PagePosition): string {
  return Buffer.from(`${createdAt.getTime()}:${id}`).toString('base64url')
}

function parseCursor(field: 'after' | 'before', cursor: string | null | undefined): PagePosition | null {
  if (cursor == null) return null
  const [ms = '', id = ''] = Buffer.from(cursor, 'base64url').toString('utf8').split(':')
  const createdMs = /^\d{1,15}$/.test(ms) ? Number(ms) : Infinity
  const position = { createdAt: new Date(createdMs), id }
  // Decoding skips what it does not know: only the one form that we give out is ours, and only a time that Postgres has.
  const isOurs = isUuid(id) && createdMs <= endOfTimeMs && pageCursor(position) === cursor
  if (isOurs) return position
  throw new BadUserInputError(field, `${field}: This is not a cursor of this list.`)
}
