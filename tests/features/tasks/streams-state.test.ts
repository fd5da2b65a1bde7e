import { describe, expect, test } from 'vitest'
import type { TaskStreamItem } from '../../../src/features/tasks/streams/stream-items.ts'
import { parseTaskCursor, type TaskPosition } from '../../../src/features/tasks/streams/task-cursor.ts'
import type { OutputDeltaRecord, TaskMessage } from '../../../src/features/tasks/streams/task-messages.ts'
import {
  acceptHead,
  acceptMessage,
  acceptRows,
  type Progress,
  type TaskRows,
} from '../../../src/features/tasks/streams/task-stream-state.ts'
import { makeEvent, makeTask, makeTransition } from './streams-factory.ts'

const running = makeTask({ status: 'RUNNING', version: 3, attempt: 2 })
const truth = ['', 'abcd', 'wxyz']

const positions: TaskPosition[] = [0, 1, 2, 3].flatMap((version) =>
  [0, 1, 2].flatMap((segment) =>
    (segment === 0 ? [0] : [0, 1, 2, 3, 4]).map((offset) => ({ version, segment, offset })),
  ),
)

function delta(segment: number, offset: number, length: number): OutputDeltaRecord {
  const text = (truth[segment] ?? '').slice(offset, offset + length)
  return { taskId: running.id, attempt: segment, segment, offset, text, model: `model-${segment}`, reason: 'it broke' }
}

const accept = (position: TaskPosition, message: TaskMessage): Progress | 'gap' => acceptMessage(position, message)
const text = (items: readonly TaskStreamItem[]): string =>
  items.map((item) => (item.kind === 'OutputDelta' ? item.text : '')).join('')

describe('a delta', () => {
  const deltas = [1, 2].flatMap((segment) =>
    [0, 1, 2, 3].flatMap((offset) => [1, 2, 4 - offset].map((length) => delta(segment, offset, length))),
  )

  test.each(deltas)('moves every position on as the table says: $segment at $offset, "$text"', (record) => {
    for (const position of positions) {
      const result = accept(position, { kind: 'delta', delta: record })
      const from = record.segment === position.segment ? position.offset : 0
      const to = record.offset + record.text.length
      if (record.segment < position.segment) {
        expect(result).toEqual({ position, items: [], ended: false })
      } else if (record.offset > from) {
        expect(result).toBe('gap')
      } else {
        const isReset = record.segment > position.segment && position.segment > 0
        const end = { ...position, segment: record.segment, offset: Math.max(from, to) }
        expect(result).toMatchObject({ position: end, ended: false })
        const items = result === 'gap' ? [] : result.items
        expect(items.some((item) => item.kind === 'OutputReset')).toBe(isReset)
        expect(text(items)).toBe((truth[record.segment] ?? '').slice(from, end.offset))
      }
    }
  })

  test('announces a reset before the text, each with the cursor that follows it', () => {
    const position = { version: 3, segment: 1, offset: 2 }
    const result = accept(position, { kind: 'delta', delta: delta(2, 0, 2) })

    const items = result === 'gap' ? [] : result.items
    expect(items).toMatchObject([
      { kind: 'OutputReset', attempt: 2, segment: 2, model: 'model-2', reason: 'it broke' },
      { kind: 'OutputDelta', attempt: 2, segment: 2, offset: 0, text: 'wx' },
    ])
    expect(items.map((item) => ('cursor' in item ? parseTaskCursor(item.cursor, running.id) : null))).toEqual([
      { version: 3, segment: 2, offset: 0 },
      { version: 3, segment: 2, offset: 2 },
    ])
  })

  test('is cut into pieces that never split a surrogate pair', () => {
    const long = `${'a'.repeat(64 * 1024 - 1)}😀${'b'.repeat(10)}`
    const record = { ...delta(1, 0, 0), text: long }
    const result = accept({ version: 1, segment: 0, offset: 0 }, { kind: 'delta', delta: record })

    const pieces = result === 'gap' ? [] : result.items.map((item) => (item.kind === 'OutputDelta' ? item.text : ''))
    expect(pieces.map((piece) => piece.length)).toEqual([64 * 1024 - 1, 12])
    expect(pieces.join('')).toBe(long)
  })
})

describe('an event', () => {
  const statuses = ['QUEUED', 'RUNNING', 'SCHEDULED', 'SUCCEEDED', 'FAILED', 'CANCELLED', 'SKIPPED'] as const
  const places = positions.filter(({ version }) => version === 0)
  const heads = [null, ...places.map(({ segment, offset }) => ({ segment, length: offset }))]

  test.each(statuses)('moves every position on as the table says: %s', (status) => {
    const isTerminal = !['QUEUED', 'RUNNING', 'SCHEDULED'].includes(status)
    for (const position of positions) {
      for (const version of [1, 2, 3, 4, 5]) {
        for (const output of heads) {
          const transition = makeTransition(makeTask({ status, version }), output)
          const result = accept(position, { kind: 'event', transition })
          const hasAllText = output?.segment === position.segment && output.length === position.offset
          if (version <= position.version) expect(result).toEqual({ position, items: [], ended: false })
          else if (version > position.version + 1 || (isTerminal && !hasAllText)) expect(result).toBe('gap')
          else {
            expect(result).toMatchObject({ position: { ...position, version }, ended: isTerminal })
            expect(result === 'gap' ? [] : result.items).toMatchObject([
              { kind: 'TaskChanged', event: { ...transition.event, task: transition.task } },
            ])
          }
        }
      }
    }
  })
})

test('a head beyond a position is a gap, every other one is nothing', () => {
  const rank = ({ segment, offset }: { segment: number; offset: number }): number => segment * 100 + offset
  for (const position of positions) {
    for (const { version, segment, offset } of positions) {
      const result = acceptHead(position, { version, segment, length: offset })
      const isBeyond = version > position.version || rank({ segment, offset }) > rank(position)
      expect(result).toEqual(isBeyond ? 'gap' : { position, items: [], ended: false })
    }
  }
})

describe('rows', () => {
  const events = [1, 2, 3].map((version) => makeEvent(running, { version, status: 'RUNNING' }))
  const segment = { segment: 2, attempt: 2, model: 'm', reason: null, length: 4 }

  function rowsAfter(position: TaskPosition, overrides: Partial<TaskRows> = {}): TaskRows {
    return {
      task: running,
      events: events.slice(position.version),
      segment,
      text: { offset: 0, text: 'wxyz' },
      ...overrides,
    }
  }

  test('bring every position to the head, with what it has not seen', () => {
    for (const position of positions) {
      const result = acceptRows(position, rowsAfter(position))
      expect(result).toMatchObject({ position: { version: 3, segment: 2, offset: 4 }, ended: false, more: false })
      expect(result.items.flatMap((item) => (item.kind === 'TaskChanged' ? [item.event.version] : []))).toEqual(
        [1, 2, 3].slice(position.version),
      )
      expect(result.items.some((item) => item.kind === 'OutputReset')).toBe(position.segment === 1)
      expect(text(result.items)).toBe(position.segment === 2 ? 'wxyz'.slice(position.offset) : 'wxyz')
    }
  })

  test('end with the terminal event, after the text', () => {
    const ended = makeTask({ ...running, status: 'SUCCEEDED' })
    const closing = makeEvent(ended, { version: 3, status: 'SUCCEEDED' })
    const rows = rowsAfter(
      { version: 1, segment: 1, offset: 4 },
      { task: ended, events: [...events.slice(1, 2), closing] },
    )
    const result = acceptRows({ version: 1, segment: 1, offset: 4 }, rows)

    expect(result.items.map((item) => item.kind)).toEqual(['TaskChanged', 'OutputReset', 'OutputDelta', 'TaskChanged'])
    expect(result.ended).toBe(true)
    const cursor = result.items.at(-2)
    expect(cursor?.kind === 'OutputDelta' && parseTaskCursor(cursor.cursor, running.id).version).toBe(2)
  })

  test('end at once when all of an ended task was seen', () => {
    const ended = makeTask({ ...running, status: 'FAILED' })
    const position = { version: 3, segment: 2, offset: 4 }

    expect(acceptRows(position, rowsAfter(position, { task: ended }))).toEqual({
      position,
      items: [],
      ended: true,
      more: false,
    })
  })

  test('announce an empty segment too', () => {
    const position = { version: 3, segment: 2, offset: 4 }
    const result = acceptRows(
      position,
      rowsAfter(position, { segment: { ...segment, segment: 3, length: 0 }, text: null }),
    )

    expect(result.items).toMatchObject([{ kind: 'OutputReset', segment: 3 }])
    expect(result.position).toEqual({ version: 3, segment: 3, offset: 0 })
  })

  test('are not read as the end while the page has not all events', () => {
    const ended = makeTask({ ...running, status: 'SUCCEEDED', version: 9 })
    const result = acceptRows(
      { version: 0, segment: 0, offset: 0 },
      rowsAfter({ version: 0, segment: 0, offset: 0 }, { task: ended }),
    )

    expect(result).toMatchObject({ position: { version: 3, segment: 0, offset: 0 }, ended: false, more: true })
    expect(text(result.items)).toBe('')
  })

  test('are not read as the end while the page has not all text', () => {
    const position = { version: 3, segment: 2, offset: 1 }
    const result = acceptRows(position, rowsAfter(position, { text: { offset: 0, text: 'wxy' } }))

    expect(result).toMatchObject({ position: { ...position, offset: 3 }, ended: false, more: true })
  })

  test.each<[string, TaskPosition, Partial<TaskRows>]>([
    ['a version ahead of the task', { version: 4, segment: 2, offset: 4 }, { events: [] }],
    ['a segment ahead of the task', { version: 3, segment: 3, offset: 0 }, { events: [] }],
    ['an offset ahead of the text', { version: 3, segment: 2, offset: 5 }, { events: [] }],
    ['text of a task that has none', { version: 3, segment: 1, offset: 0 }, { events: [], segment: null, text: null }],
    ['events that are gone at the start', { version: 0, segment: 0, offset: 0 }, { events: events.slice(1) }],
    ['events that are all gone', { version: 0, segment: 0, offset: 0 }, { events: [] }],
    [
      'an event that is gone in the middle',
      { version: 0, segment: 0, offset: 0 },
      { events: events.filter((_, n) => n !== 1) },
    ],
  ])('ask for a new start, and end, for %s', (_what, position, overrides) => {
    const result = acceptRows(position, rowsAfter(position, overrides))

    expect(result).toMatchObject({ position, items: [{ kind: 'ResyncRequired' }], ended: true, more: false })
  })

  test('with a hole in the text are a fault, not an endless loop', () => {
    const position = { version: 3, segment: 2, offset: 1 }

    expect(() => acceptRows(position, rowsAfter(position, { text: { offset: 2, text: 'yz' } }))).toThrow('hole')
  })
})
