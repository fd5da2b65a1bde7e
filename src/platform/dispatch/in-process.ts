import type { Dispatch } from './dispatch.ts'

export type InProcessDispatchOptions = {
  /** How many hints of one workspace may wait: it has as many turns before the next one comes. */
  maxWaitingPerWorkspace: number
  /** Told when a handler throws, which is a bug in it; the next hint is delivered all the same. */
  onError: (error: unknown) => void
}

type Delivery = {
  handler: (workspaceId: string) => Promise<void>
  untilReady: () => Promise<void>
  isStopped: () => boolean
}

/** Hints within one process: one queue, first in, first out. */
export function createInProcessDispatch({ maxWaitingPerWorkspace, onError }: InProcessDispatchOptions): Dispatch {
  const queue: string[] = []
  const waiting = new Map<string, number>()
  let wake: (() => void) | null = null
  let closed = false

  function take(): string | undefined {
    const workspaceId = queue.shift()
    if (workspaceId === undefined) return undefined
    const left = (waiting.get(workspaceId) ?? 1) - 1
    if (left > 0) waiting.set(workspaceId, left)
    else waiting.delete(workspaceId)
    return workspaceId
  }

  async function deliver({ handler, untilReady, isStopped }: Delivery): Promise<void> {
    while (!isStopped()) {
      await untilReady()
      if (isStopped()) return
      const workspaceId = take()
      if (workspaceId === undefined) {
        await new Promise<void>((resolve) => (wake = resolve))
        wake = null
        continue
      }
      try {
        await handler(workspaceId)
      } catch (error) {
        onError(error)
      }
    }
  }

  return {
    async hint(workspaceId) {
      const count = waiting.get(workspaceId) ?? 0
      if (closed || count >= maxWaitingPerWorkspace) return
      waiting.set(workspaceId, count + 1)
      queue.push(workspaceId)
      wake?.()
    },
    consume(handler, untilReady = () => Promise.resolve()) {
      let stopped = false
      const delivered = deliver({ handler, untilReady, isStopped: () => stopped || closed })
      return async () => {
        stopped = true
        wake?.()
        await delivered
      }
    },
    async close() {
      closed = true
      queue.length = 0
      waiting.clear()
      wake?.()
    },
  }
}
