/** Rejects on a signal, or when it has taken too long: what was started is cleaned up either way. */
export function stopRequest(hardLimitMs: number): Promise<never> {
  const stopped = new Promise<never>((_, reject) => {
    setTimeout(() => reject(new Error(`it was not done after ${hardLimitMs} ms`)), hardLimitMs).unref()
    for (const signal of ['SIGINT', 'SIGTERM'] as const)
      process.once(signal, () => reject(new Error(`it was stopped by ${signal}`)))
  })
  // It may come before anybody waits for it.
  stopped.catch(() => undefined)
  return stopped
}
