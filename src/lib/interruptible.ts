/**
 * A generator whose `return()` is prompt. A plain async generator runs `return()` only after the `await` that it is in has settled:
 * a subscriber that leaves while its stream is silent would stay attached until the next message.
 *
 * `run` is started by the first `next()`; its signal is aborted by `return()`, and its waits must end then. `release` runs exactly
 * once, when the generator has ended for whatever reason, also when it was never started; it must not throw.
 */
export function interruptible<T>(
  run: (signal: AbortSignal) => AsyncGenerator<T, void, undefined>,
  release: () => Promise<void>,
): AsyncGenerator<T, void, undefined> {
  const controller = new AbortController()
  const inner = run(controller.signal)
  let released: Promise<void> | null = null
  const releaseOnce = (): Promise<void> => (released ??= release())

  async function settle(step: Promise<IteratorResult<T, void>>): Promise<IteratorResult<T, void>> {
    try {
      const result = await step
      if (result.done === true) await releaseOnce()
      return result
    } catch (error) {
      await releaseOnce()
      throw error
    }
  }

  async function stop(): Promise<IteratorResult<T, void>> {
    controller.abort()
    await releaseOnce()
    return inner.return()
  }

  return {
    next: () => settle(inner.next()),
    return: stop,
    throw: async (error) => {
      await stop()
      throw error
    },
    [Symbol.asyncIterator]() {
      return this
    },
    async [Symbol.asyncDispose]() {
      await stop()
    },
  }
}
