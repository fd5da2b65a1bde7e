/** Something that can be ended from outside, with an error for who reads it. */
export interface Revocable {
  /** Ends what is wrapped, or will be: its reader gets `error` once, at once, also while waiting. */
  revoke(error: Error): void
  /** The items until they end or are revoked. `onEnd` is called once, when it is over for whatever reason; it must not throw. */
  wrap<Item>(items: AsyncGenerator<Item, void, undefined>, onEnd: () => void): AsyncGenerator<Item, void, undefined>
}

export function revocable(): Revocable {
  let revokedWith: Error | null = null
  let onRevoke: ((error: Error) => void) | null = null

  return {
    revoke(error) {
      if (revokedWith !== null) return
      revokedWith = error
      onRevoke?.(error)
    },
    wrap<Item>(items: AsyncGenerator<Item, void, undefined>, onEnd: () => void) {
      let over = false
      let rejectPending: ((error: Error) => void) | null = null

      function end(): void {
        if (over) return
        over = true
        onRevoke = null
        onEnd()
      }

      onRevoke = (error) => {
        const reject = rejectPending
        end()
        // Not awaited: its reader is told at once.
        void stop()
        reject?.(error)
      }

      async function stop(): Promise<void> {
        try {
          await items.return()
        } catch {
          // Nobody reads it any more.
        }
      }

      async function read(): Promise<IteratorResult<Item, void>> {
        try {
          const step = await items.next()
          if (step.done === true) end()
          return step
        } catch (error) {
          end()
          throw error
        }
      }

      let isTold = false
      function refused(): Promise<IteratorResult<Item, void>> | null {
        if (revokedWith === null || isTold) return null
        isTold = true
        return Promise.reject(revokedWith)
      }

      const wrapped: AsyncGenerator<Item, void, undefined> = {
        next() {
          const refusal = refused()
          if (refusal !== null) return refusal
          if (over) return Promise.resolve({ done: true, value: undefined })
          return new Promise((resolve, reject) => {
            rejectPending = (error) => {
              isTold = true
              reject(error)
            }
            // Cleared before the reader hears of it: what they do then is the next read.
            void read()
              .finally(() => {
                rejectPending = null
              })
              .then(resolve, reject)
          })
        },
        async return() {
          end()
          await items.return()
          return { done: true, value: undefined }
        },
        async throw(error) {
          end()
          await items.return()
          throw error
        },
        [Symbol.asyncIterator]: () => wrapped,
        async [Symbol.asyncDispose]() {
          await wrapped.return()
        },
      }
      // Revoked while it was being opened.
      if (revokedWith !== null) onRevoke(revokedWith)
      return wrapped
    },
  }
}
