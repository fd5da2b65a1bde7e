import { z } from 'zod'
import type { NewId } from '../../lib/ids.ts'
import type { Events } from '../../platform/events/events.ts'
import type { Logger } from '../../platform/logger.ts'

/** What has changed about who may do what. It names rows to read again, and says nothing about what is in them. */
export type AccessChange =
  | { kind: 'session'; id: string }
  /** The account: disabled, another role, all of its sessions ended. */
  | { kind: 'user'; id: string }
  | { kind: 'apiKey'; id: string }
  /** The user came to the workspace, left it, or has another role there. */
  | { kind: 'member'; userId: string; workspaceId: string }

/**
 * Tells every process that remembered permissions are out of date. A message may be lost: whoever remembers anything also reads it again
 * within 30 s.
 */
export interface AccessChanges {
  /** After the commit. The listeners of this process have heard it when this returns, those of others hear it within a second. */
  announce(changes: readonly AccessChange[]): void
  /** `listener` must not throw. Listeners are called in the order in which they came. Returns what removes it. */
  onChange(listener: (change: AccessChange) => void): () => void
  /** Hears nothing more; resolves when what was announced has been published, or could not be. */
  close(): Promise<void>
}

const topic = 'access'

const changeSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('session'), id: z.string() }),
  z.object({ kind: z.literal('user'), id: z.string() }),
  z.object({ kind: z.literal('apiKey'), id: z.string() }),
  z.object({ kind: z.literal('member'), userId: z.string(), workspaceId: z.string() }),
])
const messageSchema = z.object({ from: z.string(), changes: z.array(changeSchema) })

export type AccessChangesDeps = { events: Events; newId: NewId; logger: Logger }

export async function openAccessChanges({ events, newId, logger }: AccessChangesDeps): Promise<AccessChanges> {
  const listeners = new Set<(change: AccessChange) => void>()
  const underWay = new Set<Promise<void>>()
  const self = newId()

  function tell(changes: readonly AccessChange[]): void {
    for (const change of changes) for (const listener of listeners) listener(change)
  }

  async function publish(changes: readonly AccessChange[]): Promise<void> {
    try {
      await events.publish(topic, { from: self, changes })
    } catch (err) {
      logger.warn({ err }, 'a change of permissions was not published; other processes notice within 30 s')
    }
  }

  const subscription = await events.subscribe(topic, (message) => {
    const parsed = messageSchema.safeParse(message)
    // A newer version of the program may say more than this one understands.
    if (!parsed.success) logger.warn('a message about permissions was not understood; they are read again within 30 s')
    else if (parsed.data.from !== self) tell(parsed.data.changes)
  })

  return {
    announce(changes) {
      if (changes.length === 0) return
      tell(changes)
      // Not awaited: what is committed is committed, and with Redis away the caller would wait for nothing.
      const publishing = publish(changes).finally(() => underWay.delete(publishing))
      underWay.add(publishing)
    },
    onChange(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    async close() {
      listeners.clear()
      await subscription.unsubscribe()
      await Promise.all(underWay)
    },
  }
}
