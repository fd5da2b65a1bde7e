import type { Asker } from '../graphql/admission.ts'
import { isLoopback, networkOf } from '../lib/network.ts'

/** How many sockets and event streams one user, or one address without credentials, holds open on this process. */
export interface LiveConnections {
  /** Takes a place; returns what gives it back (once, however often it is called), or null when there is none. */
  enter(asker: Asker): (() => void) | null
}

export type LiveConnectionsOptions = {
  maxPerAsker: number
  /** Outside production this machine's own addresses are not limited; users are. */
  exemptsLoopback: boolean
}

export function createLiveConnections({ maxPerAsker, exemptsLoopback }: LiveConnectionsOptions): LiveConnections {
  const counts = new Map<string, number>()

  return {
    enter({ viewer, client }) {
      if (viewer === null && exemptsLoopback && isLoopback(client.ip)) return () => undefined
      const key = viewer === null ? `address:${networkOf(client.ip)}` : `user:${viewer.userId}`
      const count = counts.get(key) ?? 0
      if (count >= maxPerAsker) return null
      counts.set(key, count + 1)
      let isHeld = true
      return () => {
        if (!isHeld) return
        isHeld = false
        const left = (counts.get(key) ?? 1) - 1
        if (left === 0) counts.delete(key)
        else counts.set(key, left)
      }
    },
  }
}
