export type BackoffOptions = {
  initialDelayMs: number
  maxDelayMs: number
  /** In [0, 1), injected. */
  random: () => number
}

/**
 * The delay before retry `retry` (0 is the first), in milliseconds: full jitter over an exponentially growing range,
 * as in M. Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
 */
export function fullJitterDelayMs(retry: number, { initialDelayMs, maxDelayMs, random }: BackoffOptions): number {
  const ceilingMs = Math.min(maxDelayMs, initialDelayMs * 2 ** Math.min(retry, 52))
  return Math.floor(random() * ceilingMs)
}
