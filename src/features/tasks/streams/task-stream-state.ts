import type { TaskStreamItem } from './stream-items.ts'
import { taskCursor, type TaskPosition } from './task-cursor.ts'
import {
  terminalStatuses,
  type OutputDeltaRecord,
  type TaskEventRecord,
  type TaskMessage,
  type TaskRow,
  type TaskTransition,
} from './task-messages.ts'

/*
 * One reader of one task, as pure functions: its position, and what comes next, give items and the next position.
 *
 *   what comes                                     position becomes      result
 *   event   version <= ours                        -                     nothing: seen
 *   event   next version, not terminal             its version           TaskChanged
 *   event   next version, terminal, text whole     its version           TaskChanged, the end
 *   event   next version, terminal, text short     -                     gap
 *   event   later version                          -                     gap
 *   delta   older segment, or all of it seen       -                     nothing: seen
 *   delta   our segment, at or over our offset     its end               OutputDelta of what is new
 *   delta   our segment, beyond our offset         -                     gap
 *   delta   later segment, its start               that segment, its end OutputReset (if there was text), OutputDelta
 *   delta   later segment, not its start           -                     gap
 *   head    not beyond us                          -                     nothing
 *   head    beyond us                              -                     gap
 *   rows    lead on from us                        theirs                TaskChanged*, OutputReset?, OutputDelta*, terminal TaskChanged?
 *   rows    behind us, or not continuous           -                     ResyncRequired, the end
 *
 * Events arrive in their order and text arrives in its order; all of the text arrives before the terminal event. A task that had ended
 * and was revived is live again: a terminal event ends a stream only when it is the last one.
 */

/** What one statement read for a reader at a position. */
export type TaskRows = {
  task: TaskRow
  /** Those after the position's version, ascending; at most a page. */
  events: readonly TaskEventRecord[]
  /** The latest segment, with its length so far in UTF-16 units. */
  segment: (Omit<Segment, 'taskId'> & { length: number }) | null
  /** Text of that segment that goes on from the position (from its start when the position is in an earlier one); at most a page. */
  text: Text | null
}

/** Where a task is, by its rows. */
export type TaskHead = { version: number; segment: number; length: number }

export type Progress = { position: TaskPosition; items: readonly TaskStreamItem[]; ended: boolean }

type Segment = Pick<OutputDeltaRecord, 'taskId' | 'attempt' | 'segment' | 'model' | 'reason'>
/** `offset` is where `text` begins in its segment, in UTF-16 units. */
type Text = { offset: number; text: string }

/** The longest text of one OutputDelta, in UTF-16 units; what a model sends at a time is far shorter. */
const maxDeltaUnits = 64 * 1024

/** Takes a live message. 'gap': something before it is missing. */
export function acceptMessage(position: TaskPosition, message: TaskMessage): Progress | 'gap' {
  return message.kind === 'event' ? acceptEvent(position, message.transition) : acceptDelta(position, message.delta)
}

/** Compares with where the rows are. 'gap': a message was lost, or is still under way. */
export function acceptHead(position: TaskPosition, head: TaskHead): Progress | 'gap' {
  const isBehind = position.version < head.version || isTextBefore(position, { ...head, offset: head.length })
  return isBehind ? 'gap' : { position, items: [], ended: false }
}

/** Takes a page of rows; `more`: there was more than the page holds. */
export function acceptRows(position: TaskPosition, rows: TaskRows): Progress & { more: boolean } {
  const { task, events, segment } = rows
  const problem = whyNotContinuous(position, rows)
  if (problem !== null) {
    return { position, items: [{ kind: 'ResyncRequired', reason: problem }], ended: true, more: false }
  }
  const last = events.at(-1)
  const hasAllEvents = (last?.version ?? position.version) === task.version
  const ended = hasAllEvents && terminalStatuses.has(task.status)
  const items: TaskStreamItem[] = []
  let at = position
  const change = (event: TaskEventRecord): void => {
    at = { ...at, version: event.version }
    items.push(taskChanged(at, event, task))
  }

  for (const event of ended ? events.slice(0, -1) : events) change(event)
  if (!hasAllEvents) return { position: at, items, ended: false, more: true }
  if (segment !== null) {
    const taken = takeText(at, { ...segment, taskId: task.id }, rows.text)
    items.push(...taken.items)
    at = taken.position
    if (at.offset < segment.length) {
      // Asking again would come to the same.
      if (taken.items.length === 0) throw new Error(`the output of ${task.id} has a hole at ${at.segment}:${at.offset}`)
      return { position: at, items, ended: false, more: true }
    }
  }
  if (ended && last !== undefined) change(last)
  return { position: at, items, ended, more: false }
}

function acceptEvent(position: TaskPosition, { event, task, output }: TaskTransition): Progress | 'gap' {
  if (event.version <= position.version) return { position, items: [], ended: false }
  if (event.version > position.version + 1) return 'gap'
  const ended = terminalStatuses.has(event.status)
  const hasAllText = output !== null && output.segment === position.segment && output.length === position.offset
  if (ended && !hasAllText) return 'gap'
  const next = { ...position, version: event.version }
  return { position: next, items: [taskChanged(next, event, task)], ended }
}

function acceptDelta(position: TaskPosition, delta: OutputDeltaRecord): Progress | 'gap' {
  if (delta.segment < position.segment) return { position, items: [], ended: false }
  const nextOffset = delta.segment === position.segment ? position.offset : 0
  if (delta.offset > nextOffset) return 'gap'
  return { ...takeText(position, delta, delta), ended: false }
}

/** Moves on through the text of the position's segment or of a later one; what was seen of it is cut off. */
function takeText(
  position: TaskPosition,
  segment: Segment,
  text: Text | null,
): { position: TaskPosition; items: TaskStreamItem[] } {
  const items: TaskStreamItem[] = []
  let at = position
  if (segment.segment > at.segment) {
    const hadText = at.segment > 0
    at = { ...at, segment: segment.segment, offset: 0 }
    if (hadText) items.push(outputReset(at, segment))
  }
  let rest = text === null || text.offset > at.offset ? '' : text.text.slice(at.offset - text.offset)
  while (rest !== '') {
    const part = rest.slice(0, partLength(rest))
    rest = rest.slice(part.length)
    const { offset } = at
    at = { ...at, offset: offset + part.length }
    items.push(outputDelta(at, segment, { offset, text: part }))
  }
  return { position: at, items }
}

function partLength(text: string): number {
  if (text.length <= maxDeltaUnits) return text.length
  const isPairCut = /[\uD800-\uDBFF]/.test(text.charAt(maxDeltaUnits - 1))
  return isPairCut ? maxDeltaUnits - 1 : maxDeltaUnits
}

/** Why the rows do not lead on from the position; null when they do. */
function whyNotContinuous(position: TaskPosition, { task, events, segment }: TaskRows): string | null {
  const head = { segment: segment?.segment ?? 0, offset: segment?.length ?? 0 }
  if (task.version < position.version || isTextBefore(head, position)) {
    return 'The task is behind this cursor: it was restored from a backup.'
  }
  const isWhole = events.every((event, index) => event.version === position.version + 1 + index)
  const isMissing = events.length === 0 && position.version < task.version
  return isWhole && !isMissing ? null : 'Events after this cursor are not kept any more.'
}

type TextPosition = Pick<TaskPosition, 'segment' | 'offset'>

function isTextBefore(a: TextPosition, b: TextPosition): boolean {
  return a.segment < b.segment || (a.segment === b.segment && a.offset < b.offset)
}

function taskChanged(position: TaskPosition, event: TaskEventRecord, task: TaskRow): TaskStreamItem {
  return { kind: 'TaskChanged', cursor: taskCursor(task.id, position), event: { ...event, task } }
}

function outputReset(position: TaskPosition, { taskId, attempt, segment, model, reason }: Segment): TaskStreamItem {
  const cursor = taskCursor(taskId, position)
  return { kind: 'OutputReset', cursor, attempt, segment, model, reason: reason ?? 'Another run of the task began.' }
}

function outputDelta(position: TaskPosition, { taskId, attempt, segment }: Segment, text: Text): TaskStreamItem {
  return { kind: 'OutputDelta', cursor: taskCursor(taskId, position), attempt, segment, ...text }
}
