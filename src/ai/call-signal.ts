/** Says that nobody waits for a call any more. */
export interface CallSignal {
  readonly aborted: boolean
  /** Why; undefined while it is not aborted. */
  readonly reason: unknown
  /** Calls `listener` when the call is aborted, not when it was before; what is returned takes that back. */
  onAbort(listener: () => void): () => void
  /** The same for what takes a signal of the platform. */
  platformSignal(): AbortSignal
}

/** What ends a call. */
export interface CallControl {
  readonly signal: CallSignal
  /** Only the first time counts. */
  abort(reason: unknown): void
}

/** An AbortController takes 10 µs to make, and most calls never wait for anything that needs one: it is made when it is asked for. */
export function createCallControl(): CallControl {
  const listeners = new Set<() => void>()
  let controller: AbortController | null = null
  let aborted: { reason: unknown } | null = null

  return {
    signal: {
      get aborted() {
        return aborted !== null
      },
      get reason() {
        return aborted?.reason
      },
      onAbort(listener) {
        listeners.add(listener)
        return () => void listeners.delete(listener)
      },
      platformSignal() {
        controller ??= new AbortController()
        if (aborted !== null) controller.abort(aborted.reason)
        return controller.signal
      },
    },
    abort(reason) {
      if (aborted !== null) return
      aborted = { reason }
      controller?.abort(reason)
      for (const listener of listeners) listener()
      listeners.clear()
    },
  }
}
