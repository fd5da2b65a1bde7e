import { rowId } from '../../support/first-task.ts'
import type { Reader } from '../../support/task-reader.ts'
import type { Audit, AuditedEvent } from '../audit.ts'
import type { FeedReader } from './feed-reader.ts'

/** Holds what followers of tasks have put together against the rows. */
export function auditReaders(readers: readonly Reader[], { tasks }: Audit): string[] {
  const byId = new Map(tasks.map((task) => [task.id, task]))
  return readers.flatMap((reader) => {
    const task = byId.get(rowId(reader.taskId))
    if (task === undefined) return [`${reader.taskId} was followed, and there is no such task`]
    const seen = { version: reader.version, text: reader.text }
    const row = { version: task.version, text: task.output ?? '' }
    return seen.version === row.version && seen.text === row.text
      ? []
      : [`a follower of ${task.name} (${task.id}) has ${JSON.stringify(seen)}, the row ${JSON.stringify(row)}`]
  })
}

/** Holds what followers of the feed have seen against its rows: the same events in the same order, each once. */
export function auditFeeds(feeds: readonly FeedReader[], rows: readonly AuditedEvent[]): string[] {
  const expected = rows.map(({ taskId, version, status }) => `${taskId}:${version}:${status}`)
  return feeds.flatMap(({ events }) => {
    const at = expected.findIndex((row, index) => events[index] !== row)
    if (at === -1 && events.length === expected.length) return []
    return [
      `a follower of the feed has ${events.length} events of ${expected.length}; first difference at ${at}: ${events[at] ?? 'nothing'} for ${expected[at] ?? 'nothing'}`,
    ]
  })
}
