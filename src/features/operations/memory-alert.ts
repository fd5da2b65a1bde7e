import type { NewId } from '../../lib/ids.ts'
import type { Database, Statement } from '../../platform/database/database.ts'
import { resumeShare, type MemoryShortage } from './memory-guard.ts'

/**
 * The alert `worker.memory`: one for all processes, firing while any live worker takes no tasks because it is short of memory. Every process
 * keeps it with each sign of life, because one that is short of memory may not live to take its own back.
 */
export interface MemoryAlert {
  /** Fires for this process when it is short of memory, resolves when nobody is. To be called after its sign of life. */
  keep(shortage: MemoryShortage | null): Promise<void>
}

export type MemoryAlertDeps = {
  db: Database
  newId: NewId
  processId: string
  /** Who has been silent for longer is dead. */ aliveMs: number
}

const rule = 'worker.memory'
const megabyte = 1024 * 1024

const fireStatement: Statement = {
  name: 'memory_alert_fire',
  text: `INSERT INTO alert (id, rule, state, message, value, threshold, fired_at)
         VALUES ($1, '${rule}', 'FIRING', $2, $3, $4, clock_timestamp())
         ON CONFLICT (rule) WHERE state = 'FIRING' DO NOTHING`,
}
// A worker that is being shut down claims nothing either: the alert waits for its end, which is near.
const resolveStatement: Statement = {
  name: 'memory_alert_resolve',
  text: `UPDATE alert SET state = 'RESOLVED', resolved_at = clock_timestamp()
          WHERE rule = '${rule}' AND state = 'FIRING'
            AND NOT EXISTS (SELECT 1 FROM process
                             WHERE 'worker' = ANY (roles) AND NOT claiming AND last_seen_at > clock_timestamp() - $1 * interval '1 millisecond')`,
}

export function createMemoryAlert({ db, newId, processId, aliveMs }: MemoryAlertDeps): MemoryAlert {
  return {
    async keep(shortage) {
      if (shortage === null) {
        await db.query(resolveStatement, [aliveMs])
        return
      }
      const { bytes, limitBytes } = shortage
      await db.query(fireStatement, [newId(), messageOf(shortage, processId), bytes, limitBytes])
    },
  }
}

function messageOf({ what, bytes, limitBytes }: MemoryShortage, processId: string): string {
  const mb = (value: number): string => `${Math.round(value / megabyte)} MB`
  return (
    `The worker ${processId} has ${mb(bytes)} of ${what} and may have ${mb(limitBytes)}. ` +
    `It takes no tasks until that is below ${mb(limitBytes * resumeShare)}.`
  )
}
