import { BadUserInputError } from '../../lib/errors.ts'
import { defaultPageSize } from '../../lib/keyset-page.ts'
import type { TaskEventRecord } from './streams/task-messages.ts'
import type { EventRange } from './task-queries.ts'

/** The arguments of a list of a task's events, already checked for size. */
export type EventPageArguments = { first?: number | null | undefined; after?: string | null | undefined }

/** The column is 32 bits with a sign. */
const maxVersion = 0x7fff_ffff

/** Reads the arguments. Throws BadUserInputError naming `after` for a cursor that is not ours. */
export function parseEventPage({ first, after }: EventPageArguments): EventRange {
  return { version: after == null ? 0 : parseCursor(after), limit: first ?? defaultPageSize }
}

/** Cuts a page from what was found for the range, the oldest first: at most `limit + 1`; one too many says that there is more. */
export function toEventPage(events: readonly TaskEventRecord[], { version, limit }: EventRange) {
  const edges = events.slice(0, limit).map((event) => ({ cursor: eventCursor(event.version), event }))
  return {
    edges,
    pageInfo: {
      hasNextPage: events.length > limit,
      hasPreviousPage: version > 0,
      startCursor: edges.at(0)?.cursor ?? null,
      endCursor: edges.at(-1)?.cursor ?? null,
    },
  }
}

function eventCursor(version: number): string {
  return Buffer.from(`event:${version}`).toString('base64url')
}

function parseCursor(cursor: string): number {
  const version = Number(/^event:(\d{1,10})$/.exec(Buffer.from(cursor, 'base64url').toString('utf8'))?.[1])
  if (version <= maxVersion && eventCursor(version) === cursor) return version
  throw new BadUserInputError('after', 'after: This is not a cursor of this list.')
}
