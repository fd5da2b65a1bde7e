import type { Dispatch } from './dispatch.ts'

export type InProcessDispatchOptions = {
  /** How many hints of one agent may wait; more than the worker's slots are of no use. */
  maxWaitingPerAgent: number
  /** Told when a handler throws, which is a bug in it; the next hint is delivered all the same. */
  onError: (error: unknown) => void
}

/** Hints within one process: one queue, first in, first out. */
export function createInProcessDispatch({ maxWaitingPerAgent, onError }: InProcessDispatchOptions): Dispatch {
  const queue: string[] = []
  const waiting = new Map<string, number>()
  let wake: (() => void) | null = null
  let closed = false

  function take(): string | undefined {
    const agentId = queue.shift()
    if (agentId === undefined) return undefined
    const left = (waiting.get(agentId) ?? 1) - 1
    if (left > 0) waiting.set(agentId, left)
    else waiting.delete(agentId)
    return agentId
  }

  async function deliver(handler: (agentId: string) => Promise<void>, isStopped: () => boolean): Promise<void> {
    while (!isStopped()) {
      const agentId = take()
      if (agentId === undefined) {
        await new Promise<void>((resolve) => (wake = resolve))
        wake = null
        continue
      }
      try {
        await handler(agentId)
      } catch (error) {
        onError(error)
      }
    }
  }

  return {
    async hint(agentId) {
      const count = waiting.get(agentId) ?? 0
      if (closed || count >= maxWaitingPerAgent) return
      waiting.set(agentId, count + 1)
      queue.push(agentId)
      wake?.()
    },
    consume(handler) {
      let stopped = false
      const delivered = deliver(handler, () => stopped || closed)
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
