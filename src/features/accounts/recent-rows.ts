import { LRUCache } from 'lru-cache'
import type { Clock } from '../../lib/clock.ts'

/** Rows that every request asks for. What the database said is believed for 30 s, or until it is said to have changed. */
export interface RecentRows<Row extends object> {
  /** The row, or null when there is none. */
  get(id: string): Promise<Row | null>
  /** Reads these rows now, whatever is remembered. */
  refresh(ids: readonly string[]): Promise<void>
  /** Forgets the rows for which `isChanged` holds, also those that are being read at this moment. */
  forget(isChanged: (row: Row) => boolean): void
}

export type RecentRowsDeps<Row> = {
  /** One statement for all ids; what does not exist is left out. */
  read: (ids: readonly string[]) => Promise<ReadonlyMap<string, Row>>
  clock: Clock
}

const believedForMs = 30_000
const maxRows = 10_000
const maxReads = 3

export function createRecentRows<Row extends object>({ read, clock }: RecentRowsDeps<Row>): RecentRows<Row> {
  const rows = new LRUCache<string, Row>({
    max: maxRows,
    ttl: believedForMs,
    ttlResolution: 0,
    perf: { now: () => clock.monotonicMs() },
  })
  let changes = 0

  async function readNow(ids: readonly string[]): Promise<ReadonlyMap<string, Row>> {
    for (let reads = 1; ; reads += 1) {
      const before = changes
      const found = await read(ids)
      // What was forgotten while we read may be what we have read. In a storm of changes the last answer has to do, for this once.
      if (changes !== before && reads < maxReads) continue
      if (changes === before) remember(ids, found)
      return found
    }
  }

  function remember(ids: readonly string[], found: ReadonlyMap<string, Row>): void {
    for (const id of ids) {
      const row = found.get(id)
      if (row === undefined) rows.delete(id)
      else rows.set(id, row)
    }
  }

  return {
    async get(id) {
      return rows.get(id) ?? (await readNow([id])).get(id) ?? null
    },
    async refresh(ids) {
      if (ids.length > 0) await readNow(ids)
    },
    forget(isChanged) {
      changes += 1
      for (const [id, row] of rows.entries()) if (isChanged(row)) rows.delete(id)
    },
  }
}
