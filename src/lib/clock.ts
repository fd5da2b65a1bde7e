/** Where time comes from. Times of leases are the database's; everything else asks a Clock. */
export interface Clock {
  /** The wall clock. */
  now(): Date
  /** Milliseconds of a clock that never goes back; only differences mean anything. */
  monotonicMs(): number
}

export const systemClock: Clock = {
  now: () => new Date(),
  monotonicMs: () => performance.now(),
}
