/** What `take` came back with: an item, or that none came in time, or that none will ever come. */
export type Taken<T> = { kind: 'item'; item: T } | { kind: 'timeout' } | { kind: 'closed' }

/** A first in, first out queue between a producer that never waits and one consumer that does. */
export interface BoundedQueue<T extends object> {
  readonly size: number
  /** False, and nothing has changed, when the queue is full or closed. */
  push(item: T): boolean
  clear(): void
  /** Drops what is left; a waiting `take` is told at once. Idempotent. */
  close(): void
  /**
   * Takes the first item, waiting for it up to `timeoutMs` milliseconds. An aborted signal counts as closed. There is one
   * consumer: a `take` while another one waits is a bug, and throws.
   */
  take(options: { timeoutMs: number; signal: AbortSignal }): Promise<Taken<T>>
}

export function createBoundedQueue<T extends object>({ maxItems }: { maxItems: number }): BoundedQueue<T> {
  const items: T[] = []
  let closed = false
  let wake: (() => void) | null = null

  function takeNow(signal: AbortSignal): Taken<T> | null {
    if (closed || signal.aborted) return { kind: 'closed' }
    const item = items.shift()
    return item === undefined ? null : { kind: 'item', item }
  }

  /** Resolves when something has changed, or the time is over. */
  function change(timeoutMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer)
        signal.removeEventListener('abort', done)
        wake = null
        resolve()
      }
      const timer = setTimeout(done, timeoutMs)
      signal.addEventListener('abort', done)
      wake = done
    })
  }

  return {
    get size() {
      return items.length
    },
    push(item) {
      if (closed || items.length >= maxItems) return false
      items.push(item)
      wake?.()
      return true
    },
    clear() {
      items.length = 0
    },
    close() {
      closed = true
      items.length = 0
      wake?.()
    },
    async take({ timeoutMs, signal }) {
      if (wake !== null) throw new Error('a queue has one consumer')
      const now = takeNow(signal)
      if (now !== null || timeoutMs <= 0) return now ?? { kind: 'timeout' }
      await change(timeoutMs, signal)
      return takeNow(signal) ?? { kind: 'timeout' }
    },
  }
}
