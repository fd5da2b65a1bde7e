import { rowId } from '../../support/first-task.ts'
import { StreamViolation } from '../../support/task-reader.ts'
import type { Connection } from './connection.ts'

/** A client of workspaceFeed that keeps what a client keeps. */
export interface FeedReader {
  /** "task id:version:status" of all events seen, in order. */
  readonly events: readonly string[]
  /** Reads on from its cursor over a connection of its own, until it has enough or the stream ends. */
  read(connection: Connection, isEnough: () => boolean): Promise<void>
}

const workspaceFeed = `subscription ($workspaceId: ID!, $after: String) {
  workspaceFeed(workspaceId: $workspaceId, after: $after) {
    __typename
    ... on TaskChanged { cursor event { version status task { id } } }
    ... on CaughtUp { cursor }
    ... on Heartbeat { cursor }
    ... on ResyncRequired { reason }
  }
}`

type Item =
  | { __typename: 'TaskChanged'; cursor: string; event: { version: number; status: string; task: { id: string } } }
  | { __typename: 'CaughtUp' | 'Heartbeat'; cursor: string }
  | { __typename: 'ResyncRequired'; reason: string }

export function createFeedReader(from: { workspaceId: string; cursor: string }): FeedReader {
  const events: string[] = []
  let after = from.cursor
  return {
    events,
    async read({ client, token, options }, isEnough) {
      const variables = { workspaceId: from.workspaceId, after }
      const results = client.subscribe<{ workspaceFeed: Item }>(workspaceFeed, variables, { ...options, token })
      for await (const { data, errors } of results) {
        if (errors !== undefined) throw new Error(`the feed failed: ${JSON.stringify(errors)}`)
        if (data === undefined || data === null) throw new Error('the feed has no data')
        const item = data.workspaceFeed
        if (item.__typename === 'ResyncRequired')
          throw new StreamViolation(`the feed asked to start over: ${item.reason}`)
        if (item.__typename === 'TaskChanged')
          events.push(`${rowId(item.event.task.id)}:${item.event.version}:${item.event.status}`)
        after = item.cursor
        if (isEnough()) return
      }
    },
  }
}
