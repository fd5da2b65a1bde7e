import { parse as parseUuid } from 'uuid'
import { BadUserInputError } from '../../../lib/errors.ts'

/** How far a reader of one task is: the last event it has, and how much of the output. */
export type TaskPosition = {
  version: number
  /** The latest segment it knows; 0: none. */
  segment: number
  /** How much of that segment it has, in UTF-16 units. */
  offset: number
}

// Opaque to callers, and bound to what they were given for. They are not signed: a forged one only moves its owner about in what they
// may read anyway. The first byte is kind and format: 1 = task stream, 2 = workspace feed.
const taskKind = 1
const taskCursorBytes = 1 + 16 + 3 * 4
const feedKind = 2
const feedCursorBytes = 1 + 16 + 8
/** The columns are 32 bits with a sign. */
const maxColumn = 0x7fff_ffff

/** The cursor of `taskStream`: base64url of kind, task id, version, segment, offset. */
export function taskCursor(taskId: string, { version, segment, offset }: TaskPosition): string {
  const bytes = Buffer.alloc(taskCursorBytes)
  bytes.writeUInt8(taskKind, 0)
  bytes.set(parseUuid(taskId), 1)
  bytes.writeUInt32BE(version, 17)
  bytes.writeUInt32BE(segment, 21)
  bytes.writeUInt32BE(offset, 25)
  return bytes.toString('base64url')
}

/** @throws BadUserInputError naming `after` when `cursor` is not one that this task's stream gives out. */
export function parseTaskCursor(cursor: string, taskId: string): TaskPosition {
  const bytes = ownBytes(cursor, { kind: taskKind, length: taskCursorBytes, ownerId: taskId })
  const position = { version: bytes.readUInt32BE(17), segment: bytes.readUInt32BE(21), offset: bytes.readUInt32BE(25) }
  if (Math.max(position.version, position.segment, position.offset) > maxColumn) throw badCursor()
  return position
}

/** The cursor of `workspaceFeed`: base64url of kind, workspace id, the sequence number of the last event seen. */
export function feedCursor(workspaceId: string, seq: number): string {
  const bytes = Buffer.alloc(feedCursorBytes)
  bytes.writeUInt8(feedKind, 0)
  bytes.set(parseUuid(workspaceId), 1)
  bytes.writeBigUInt64BE(BigInt(seq), 17)
  return bytes.toString('base64url')
}

/**
 * The sequence number in a cursor of `workspaceFeed`.
 * @throws BadUserInputError naming `after` when `cursor` is not one that this workspace's feed gives out.
 */
export function parseFeedCursor(cursor: string, workspaceId: string): number {
  const bytes = ownBytes(cursor, { kind: feedKind, length: feedCursorBytes, ownerId: workspaceId })
  const seq = Number(bytes.readBigUInt64BE(17))
  if (!Number.isSafeInteger(seq)) throw badCursor()
  return seq
}

function ownBytes(cursor: string, expected: { kind: number; length: number; ownerId: string }): Buffer {
  const bytes = Buffer.from(cursor, 'base64url')
  // Decoding skips what it does not know: only the one form that we give out is ours.
  if (bytes.length !== expected.length || bytes.toString('base64url') !== cursor) throw badCursor()
  if (bytes.readUInt8(0) !== expected.kind) throw badCursor()
  if (!bytes.subarray(1, 17).equals(parseUuid(expected.ownerId))) throw badCursor()
  return bytes
}

function badCursor(): BadUserInputError {
  return new BadUserInputError('after', 'after: This is not a cursor of this stream.', {
    suggestions: ['Pass a cursor that this stream gave you, or leave `after` out to start anew.'],
  })
}
