import { fullJitterDelayMs } from '../../lib/backoff.ts'
import { isRetryable, translateConnectionError } from './database-errors.ts'

export type RetryOptions = {
  maxAttempts: number
  /** In [0, 1). */
  random: () => number
  sleep: (ms: number, signal: AbortSignal) => Promise<void>
  /** Aborted when the database is being closed: nothing is tried again after that. */
  signal: AbortSignal
}

const initialDelayMs = 25
const maxDelayMs = 1_000

/**
 * Runs `attempt`, again with full jitter when it failed in a way that repeating may solve, up to `maxAttempts` times in all
 * (with the default of 4: at most 175 ms of waiting). Throws the last failure, in the form for callers.
 */
export async function withRetry<T>(attempt: () => Promise<T>, options: RetryOptions): Promise<T> {
  const { maxAttempts, random, sleep, signal } = options
  for (let tried = 1; ; tried++) {
    try {
      return await attempt()
    } catch (error) {
      if (tried >= maxAttempts || signal.aborted || !isRetryable(error)) throw translateConnectionError(error) ?? error
      await sleep(fullJitterDelayMs(tried - 1, { initialDelayMs, maxDelayMs, random }), signal)
    }
  }
}
