/**
 * Token buckets that count requests and tokens together (the algorithm of RFC 2697's meters, with fractional refill): a bucket holds a
 * minute's worth, is full at first, and fills evenly all the time.
 *
 * Whatever a bucket holds is taken at once and by one step: no two takers see the same content, whichever process they are in.
 */
export interface RateLimits {
  /**
   * Takes one request and `tokens` tokens from every bucket, or nothing from any. A bucket that could never hold so many lets the request
   * pass when it is full, and is in debt for the rest.
   */
  take(buckets: readonly Bucket[], tokens: number): Promise<Take>
  /**
   * Corrects what a take has taken: adds `requests` and `tokens` to every bucket (up to full), or takes them when they are negative (into
   * debt: what was used was used). Never refuses.
   */
  correct(buckets: readonly Bucket[], correction: { requests: number; tokens: number }): Promise<void>
  /** Gives up connections. */
  close(): Promise<void>
}

export type Bucket = {
  /** Names it among all; the same for every process. */
  key: string
  /** Null: not counted. Both may change at any time: what is in the bucket stays, up to the new size. */
  requestsPerMinute: number | null
  tokensPerMinute: number | null
}

export type Take =
  | { ok: true }
  | {
      ok: false
      /** Index of the bucket that one has to wait for longest, and what it lacks. */
      bucket: number
      lacks: 'requests' | 'tokens'
      /** When all buckets hold enough, should nobody else take from them; a whole number, at least 1. */
      retryAfterMs: number
    }
