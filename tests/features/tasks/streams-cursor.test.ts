import { expect, test } from 'vitest'
import { BadUserInputError } from '../../../src/lib/errors.ts'
import { newId } from '../../../src/lib/ids.ts'
import {
  feedCursor,
  parseFeedCursor,
  parseTaskCursor,
  taskCursor,
} from '../../../src/features/tasks/streams/task-cursor.ts'

const id = newId()

test.each([
  { version: 0, segment: 0, offset: 0 },
  { version: 1, segment: 2, offset: 3 },
  { version: 0x7fff_ffff, segment: 0x7fff_ffff, offset: 0x7fff_ffff },
])('a task cursor comes back as it went: %o', (position) => {
  expect(parseTaskCursor(taskCursor(id, position), id)).toEqual(position)
})

test.each([0, 1, 2 ** 40, Number.MAX_SAFE_INTEGER])('a feed cursor comes back as it went: %i', (seq) => {
  expect(parseFeedCursor(feedCursor(id, seq), id)).toBe(seq)
})

const position = { version: 3, segment: 1, offset: 10 }

test.each([
  ['nothing', ''],
  ['no base64', '!!!'],
  ['text', 'hello'],
  ['another length', `${taskCursor(id, position)}AA`],
  ['another base64', `${taskCursor(id, position)}=`],
  ['spaces', ` ${taskCursor(id, position)}`],
  ['another task', taskCursor(newId(), position)],
  ['a feed', feedCursor(id, 3)],
  ['a version below zero', changed(taskCursor(id, position), 17)],
  ['an unknown kind', changed(taskCursor(id, position), 0)],
])('refuses a task cursor that is %s, naming the argument', (_what, cursor) => {
  expect(() => parseTaskCursor(cursor, id)).toThrow(BadUserInputError)
  expect(() => parseTaskCursor(cursor, id)).toThrow('after')
})

test.each([
  ['nothing', ''],
  ['another workspace', feedCursor(newId(), 3)],
  ['a task', taskCursor(id, position)],
  ['beyond all numbers', changed(feedCursor(id, 3), 17)],
])('refuses a feed cursor that is %s', (_what, cursor) => {
  expect(() => parseFeedCursor(cursor, id)).toThrow(BadUserInputError)
})

/** The cursor with all bits of one byte set. */
function changed(cursor: string, index: number): string {
  const bytes = Buffer.from(cursor, 'base64url')
  bytes[index] = 0xff
  return bytes.toString('base64url')
}
