import type { ExecutionResult } from 'graphql'

export type ResultStream = AsyncGenerator<ExecutionResult, void, void>

export type ResultStreamOptions = {
  /** Called once, when the stream is over, whoever ended it. Must not throw. */
  onEnd: () => void
  /** Gives a result the form in which it leaves. */
  onResult: (result: ExecutionResult) => ExecutionResult
  /** What a failure of the source shows as: the last result of the stream. */
  onError: (error: unknown) => ExecutionResult
}

type Step = IteratorResult<ExecutionResult, void>

const over: Step = { done: true, value: undefined }

/**
 * A subscription's results for one reader, who pulls: nothing is read from the source before it is asked for. Unlike an async
 * generator, `return` ends it at once even while a read is pending, which is the usual state of a quiet subscription.
 */
export function createResultStream(
  source: AsyncIterable<ExecutionResult>,
  { onEnd, onResult, onError }: ResultStreamOptions,
): ResultStream {
  const iterator = source[Symbol.asyncIterator]()
  let ended = false
  let settlePendingRead: ((step: Step) => void) | null = null

  function end(): void {
    if (ended) return
    ended = true
    onEnd()
  }

  async function read(): Promise<Step> {
    try {
      const step = await iterator.next()
      if (ended) return over
      if (step.done !== true) return { done: false, value: onResult(step.value) }
      end()
      return over
    } catch (error) {
      // A source that is told to stop may say so by throwing; nobody reads it any more.
      if (ended) return over
      const value = onError(error)
      end()
      return { done: false, value }
    }
  }

  function stop(): void {
    if (ended) return
    end()
    settlePendingRead?.(over)
    // Not awaited: a source that waits for its next event returns only after that.
    void Promise.resolve(iterator.return?.()).catch(onError)
  }

  return {
    next() {
      if (ended) return Promise.resolve(over)
      return new Promise<Step>((resolve) => {
        settlePendingRead = resolve
        void read().then(resolve)
      })
    },
    return() {
      stop()
      return Promise.resolve(over)
    },
    throw(error) {
      stop()
      return Promise.reject(error)
    },
    [Symbol.asyncIterator]() {
      return this
    },
    async [Symbol.asyncDispose]() {
      stop()
    },
  }
}
