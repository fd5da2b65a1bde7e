/** Limits on how often something may happen, counted for all processes that share a Redis, or in this one. */
export interface Throttles {
  /** At most `points` in a window that begins with the first of them. */
  window(options: WindowOptions): ThrottleWindow
  /** Attempts at something that must not be guessed. */
  attempts(options: AttemptsOptions): AttemptLimit
  /** Gives the connection back, if there is one. */
  close(): Promise<void>
}

export type WindowOptions = {
  /** Part of every key: unique, and the same on every process. */
  name: string
  points: number
  /** At least a second; whole seconds. */
  windowSeconds: number
  /** What one process allows while Redis is away. Default: `points`. */
  pointsWithoutRedis?: number
}

export type AttemptsOptions = {
  name: string
  /** How many attempts that do not succeed there may be until the next one has to wait. */
  maxFailures: number
  /** How long failures are remembered, from the first on. */
  windowSeconds: number
  /** The first wait; each further one is twice as long, up to `maxLockSeconds`. */
  firstLockSeconds: number
  maxLockSeconds: number
  /** What one process allows while Redis is away. Default: `maxFailures`. */
  maxFailuresWithoutRedis?: number
}

/** What came of counting. */
export type Taken = {
  isAllowed: boolean
  /** How much of the window is left. */
  remaining: number
  /** Until the window or the lock ends. */
  resetMs: number
}

export interface ThrottleWindow {
  /** Takes `points` (default 1) for `key`. A refusal counts, too. Never rejects: without Redis this process counts for itself. */
  take(key: string, points?: number): Promise<Taken>
}

export interface AttemptLimit {
  /** Counts an attempt before it is made, so that many at once are no way around the limit. Never rejects. */
  begin(key: string): Promise<Attempt>
}

export type Attempt =
  | { isAllowed: false; resetMs: number }
  | {
      isAllowed: true
      /** Forgets all failures of the key. An attempt of which this is not said has failed. */
      succeeded(): Promise<void>
      /** It came to nothing, neither success nor failure: it is not counted. */
      abandoned(): Promise<void>
    }
