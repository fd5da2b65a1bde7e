import { createTextCleaner } from './output-text.ts'
import type { OutputDeltaRecord } from '../streams/task-messages.ts'

/** The text of one run: what is in rows, and what waits to be. */
export interface OutputBuffer {
  /** How much text of the current segment is held, in UTF-16 units. */
  readonly units: number
  begin(model: string, reason: string | null): void
  append(text: string): void
  /** What is to be written next, at most `maxUnits` of it; null when nothing waits. */
  next(maxUnits: number): SegmentText | null
  /** What `next` gave is in rows. */
  confirm(written: SegmentText): void
  finish(): FinishedOutput
}

/** What the end of a run carries. */
export type FinishedOutput = {
  /** The latest segment and all of its text, or null when no text ever came in this run. */
  segment: { segment: number; model: string; reason: string | null; text: string } | null
  /** The end of that text, which is not in a row yet: to be published after the commit, before the event. */
  tail: OutputDeltaRecord | null
}

export type SegmentText = { segment: number; model: string; reason: string | null; offset: number; text: string }

export type OutputBufferOptions = { taskId: string; attempt: number; lastSegment: number }

export function createOutputBuffer({ taskId, attempt, lastSegment }: OutputBufferOptions): OutputBuffer {
  const cleaner = createTextCleaner()
  let current: Omit<SegmentText, 'offset' | 'text'> = { segment: lastSegment, model: 'unknown', reason: null }
  /** The model run that has begun and has no text yet. */
  let begun: { model: string; reason: string | null } | null = { model: 'unknown', reason: null }
  // Kept apart: slicing one long string for each flush would copy it each time.
  let written: string[] = []
  let writtenUnits = 0
  let waiting = ''

  function add(text: string): void {
    if (text === '') return
    if (begun !== null) {
      current = { segment: current.segment + 1, ...begun }
      begun = null
      written = []
      writtenUnits = 0
      waiting = ''
    }
    waiting += text
  }

  return {
    get units() {
      return writtenUnits + waiting.length
    },
    begin(model, reason) {
      // Half a character of the model run before.
      cleaner.end()
      begun = { model, reason: reason ?? begun?.reason ?? null }
    },
    append: (text) => add(cleaner.push(text)),
    next(maxUnits) {
      return waiting === '' ? null : { ...current, offset: writtenUnits, text: cut(waiting, maxUnits) }
    },
    confirm({ segment, text }) {
      if (segment !== current.segment) return
      written.push(text)
      writtenUnits += text.length
      waiting = waiting.slice(text.length)
    },
    finish() {
      add(cleaner.end())
      if (writtenUnits + waiting.length === 0) return { segment: null, tail: null }
      const tail = { taskId, attempt, ...current, offset: writtenUnits, text: waiting }
      return { segment: { ...current, text: written.join('') + waiting }, tail: waiting === '' ? null : tail }
    },
  }
}

/** The first `maxUnits` of the text, not ending inside a surrogate pair. */
function cut(text: string, maxUnits: number): string {
  if (text.length <= maxUnits) return text
  return text.slice(0, /[\uD800-\uDBFF]/.test(text.charAt(maxUnits - 1)) ? maxUnits - 1 : maxUnits)
}
