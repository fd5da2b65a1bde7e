import { expect, test } from 'vitest'
import { createOutputBuffer } from '../../../src/features/tasks/output/output-buffer.ts'

const open = (lastSegment = 0) => createOutputBuffer({ taskId: 'task', attempt: 2, lastSegment })

test('opens the segment after the latest one with the first text', () => {
  const buffer = open(4)
  buffer.begin('m', 'Attempt 2 began.')
  expect(buffer.next(100)).toBeNull()
  buffer.append('hello')

  expect(buffer.next(100)).toEqual({ segment: 5, model: 'm', reason: 'Attempt 2 began.', offset: 0, text: 'hello' })
})

test('goes on where the rows end', () => {
  const buffer = open()
  buffer.begin('m', null)
  buffer.append('hello')
  const first = buffer.next(3)
  if (first !== null) buffer.confirm(first)
  buffer.append(' world')

  expect(first).toMatchObject({ offset: 0, text: 'hel' })
  expect(buffer.next(100)).toMatchObject({ segment: 1, offset: 3, text: 'lo world' })
  expect(buffer.finish()).toEqual({
    segment: { segment: 1, model: 'm', reason: null, text: 'hello world' },
    tail: { taskId: 'task', attempt: 2, segment: 1, offset: 3, text: 'lo world', model: 'm', reason: null },
  })
})

test('has no tail when everything is in rows', () => {
  const buffer = open()
  buffer.begin('m', null)
  buffer.append('hello')
  const all = buffer.next(100)
  if (all !== null) buffer.confirm(all)

  expect(buffer.next(100)).toBeNull()
  expect(buffer.finish()).toEqual({ segment: { segment: 1, model: 'm', reason: null, text: 'hello' }, tail: null })
})

test('drops the text of a model run when the next one has text, not before', () => {
  const buffer = open()
  buffer.begin('first', null)
  buffer.append('broken')
  buffer.begin('second', 'first broke')
  expect(buffer.next(100)).toMatchObject({ segment: 1, text: 'broken' })
  buffer.append('whole')

  expect(buffer.next(100)).toEqual({ segment: 2, model: 'second', reason: 'first broke', offset: 0, text: 'whole' })
  expect(buffer.units).toBe(5)
})

test('counts no segment for model runs without text, and keeps the reason', () => {
  const buffer = open(1)
  buffer.begin('first', 'Attempt 2 began.')
  buffer.begin('second', null)
  buffer.append('')
  buffer.begin('third', null)
  buffer.append('text')

  expect(buffer.next(100)).toMatchObject({ segment: 2, model: 'third', reason: 'Attempt 2 began.' })
})

test('ignores that text of a dropped segment was written', () => {
  const buffer = open()
  buffer.begin('first', null)
  buffer.append('broken')
  const inFlight = buffer.next(100)
  buffer.begin('second', 'first broke')
  buffer.append('whole')
  if (inFlight !== null) buffer.confirm(inFlight)

  expect(buffer.next(100)).toMatchObject({ segment: 2, offset: 0, text: 'whole' })
})

test('has nothing to finish when no text came', () => {
  const buffer = open(3)
  buffer.begin('m', null)

  expect(buffer.finish()).toEqual({ segment: null, tail: null })
})

test('ends half a character with U+FFFD, unless another model run has begun', () => {
  const [ended, replaced] = [open(), open()]
  for (const buffer of [ended, replaced]) {
    buffer.begin('m', null)
    buffer.append('a\uD83D')
  }
  replaced.begin('n', 'm broke')
  replaced.append('\uDE00b')

  expect(ended.finish().segment?.text).toBe('a\uFFFD')
  expect(replaced.finish().segment).toMatchObject({ segment: 2, text: '\uFFFDb' })
})

test('gives no write that ends inside a surrogate pair', () => {
  const buffer = open()
  buffer.begin('m', null)
  buffer.append('ab😀c')

  expect(buffer.next(3)?.text).toBe('ab')
})
