import type { Follower } from '../tasks/streams/follow.ts'
import { completionCursor, type CompletionPosition } from './completion-cursor.ts'
import type { CompletionItem } from './completion-items.ts'
import type { CompletionMessage } from './completion-messages.ts'
import type { CompletionHead, CompletionRows } from './completion-rows.ts'

/** `alive` says only that nothing has happened. */
export type FollowedItem = CompletionItem | { type: 'alive' }

export type CompletionFollowerOptions = {
  id: string
  /** Where the reader is; null: at the beginning. */
  after: CompletionPosition | null
  /** Reads on in the rows. Takes over what nobody runs. */
  read: (position: CompletionPosition) => Promise<CompletionRows>
}

/**
 * One reader of a completion with a key. It is told, from its position on:
 *
 *   the first segment that it hears of     started (not when it comes with a cursor of that segment), then its text
 *   text that goes on                      delta
 *   a later segment                        reset, then its text from the start
 *   the end                                finished or failed, and nothing after it
 *
 * How a completion begins and ends is only in the rows, so messages about that make it read them.
 */
export function createCompletionFollower({
  id,
  after,
  read,
}: CompletionFollowerOptions): Follower<CompletionMessage, CompletionHead, FollowedItem> {
  let position: CompletionPosition = after ?? { segment: 0, offset: 0 }
  let isStarted = after !== null
  let ended = false

  function enter(
    rows: Pick<CompletionRows, 'cached'>,
    segment: NonNullable<CompletionRows['segment']>,
  ): CompletionItem[] {
    if (segment.segment <= position.segment && isStarted) return []
    const model = segment.model ?? 'unknown'
    const isFirst = !isStarted
    isStarted = true
    if (segment.segment > position.segment) position = { segment: segment.segment, offset: 0 }
    return isFirst
      ? [{ type: 'started', completionId: id, model, cached: rows.cached }]
      : [{ type: 'reset', model, reason: segment.reason ?? 'Another run of the model began.' }]
  }

  function take(offset: number, text: string): CompletionItem[] {
    const fresh = text.slice(Math.max(0, position.offset - offset))
    if (fresh === '') return []
    const from = position.offset
    position = { ...position, offset: from + fresh.length }
    return [{ type: 'delta', cursor: completionCursor(id, position), offset: from, text: fresh }]
  }

  function finish({ end, cached }: CompletionRows): CompletionItem[] {
    if (end === null) return []
    ended = true
    if ('failure' in end) return [{ type: 'failed', failure: end.failure }]
    const { completion } = end
    const started: CompletionItem[] = isStarted
      ? []
      : [{ type: 'started', completionId: id, model: completion.model, cached }]
    return [...started, { type: 'finished', completion }]
  }

  return {
    async readPage() {
      const rows = await read(position)
      const { segment, text } = rows
      const items: CompletionItem[] = []
      if (segment !== null && segment.segment >= position.segment) {
        items.push(...enter(rows, segment))
        if (text !== null && text.offset <= position.offset) items.push(...take(text.offset, text.text))
      }
      items.push(...finish(rows))
      return { items, more: false }
    },
    acceptMessage(message) {
      if (message.kind === 'ended' || !isStarted) return 'gap'
      const { segment, offset, text, model, reason } = message
      if (segment < position.segment) return []
      if (offset > (segment === position.segment ? position.offset : 0)) return 'gap'
      const length = offset + text.length
      return [...enter({ cached: false }, { segment, model, reason, length }), ...take(offset, text)]
    },
    acceptHead({ status, isAbandoned, segment, length }) {
      const isBehind = segment > position.segment || (segment === position.segment && length > position.offset)
      return status !== 'RUNNING' || isAbandoned || isBehind ? 'gap' : []
    },
    heartbeat: () => ({ type: 'alive' }),
    ended: () => ended,
  }
}
