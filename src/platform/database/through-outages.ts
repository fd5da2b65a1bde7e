import { fullJitterDelayMs } from '../../lib/backoff.ts'
import { isOutage } from '../../lib/errors.ts'
import { sleep } from '../../lib/sleep.ts'

export type OutageOptions = {
  /** In [0, 1). */
  random: () => number
  /** Aborted when there is no more time to wait: the outage is thrown then. */
  signal?: AbortSignal
  /** Told once, when the first wait begins. */
  onOutage?: (error: unknown) => void
}

/** Some five minutes in all. */
export const maxOutageRetries = 60
const backoff = { initialDelayMs: 500, maxDelayMs: 10_000 }

/**
 * Writes what has happened already, such as money that was spent: while the database is away, again with full jitter until it is back. `write` must
 * be safe to repeat, because the answer to one that was done may have been lost. Throws what is no outage at once, and the outage when it lasts longer than
 * `maxOutageRetries`.
 */
export async function throughOutages<T>(
  write: () => Promise<T>,
  { random, signal = new AbortController().signal, onOutage }: OutageOptions,
): Promise<T> {
  for (let retry = 0; ; retry += 1) {
    try {
      return await write()
    } catch (error) {
      if (!isOutage(error) || retry >= maxOutageRetries || signal.aborted) throw error
      if (retry === 0) onOutage?.(error)
      await sleep(fullJitterDelayMs(retry, { ...backoff, random }), signal).catch(() => {
        throw error
      })
    }
  }
}
