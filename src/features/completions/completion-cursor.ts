import { parse as parseUuid } from 'uuid'
import { BadUserInputError } from '../../lib/errors.ts'

/** How much of a completion's text a reader has: `offset` UTF-16 units of a segment; segment 0: nothing. */
export type CompletionPosition = { segment: number; offset: number }

const kind = 3
const cursorBytes = 1 + 16 + 2 * 4
const maxColumn = 0x7fff_ffff

/** Where a piece of a completion's text ends. Opaque to callers; like the cursors of tasks not signed, because it opens nothing. */
export function completionCursor(completionId: string, { segment, offset }: CompletionPosition): string {
  const bytes = Buffer.alloc(cursorBytes)
  bytes.writeUInt8(kind, 0)
  bytes.set(parseUuid(completionId), 1)
  bytes.writeUInt32BE(segment, 17)
  bytes.writeUInt32BE(offset, 21)
  return bytes.toString('base64url')
}

/** @throws BadUserInputError naming `after` when `cursor` is not one of this completion's. */
export function parseCompletionCursor(cursor: string, completionId: string): CompletionPosition {
  const bytes = Buffer.from(cursor, 'base64url')
  // Decoding skips what it does not know: only the one form that we give out is ours.
  const isOurs = bytes.length === cursorBytes && bytes.toString('base64url') === cursor && bytes.readUInt8(0) === kind
  if (!isOurs || !bytes.subarray(1, 17).equals(parseUuid(completionId))) throw badCursor()
  const position = { segment: bytes.readUInt32BE(17), offset: bytes.readUInt32BE(21) }
  if (Math.max(position.segment, position.offset) > maxColumn) throw badCursor()
  return position
}

function badCursor(): BadUserInputError {
  return new BadUserInputError('after', 'after: This is not a cursor of this completion.', {
    suggestions: [
      'Pass a cursor that a completion with this key gave you, or leave `after` out to hear it from the start.',
    ],
  })
}
