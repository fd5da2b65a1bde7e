/**
 * Keeps texts for a while, and lets one of many who miss the same make it for all (single flight). What is in it may be gone at any time. No
 * method ever rejects: where the store is away, refuses or is slow, there is nothing in it, and nobody can lead.
 */
export interface Cache {
  /** The value, or null. */
  get(key: string): Promise<string | null>
  /** Keeps `value` for `ttlMs`; one that is too large is not kept. */
  set(key: string, value: string, ttlMs: number): Promise<void>
  /**
   * The value; or, where there is none, the lead for `leaseMs`: whoever has it is to make the value. In one step: of many who ask at once one is
   * led to make it. Ends early by `release`.
   */
  getOrLead(key: string, leader: string, leaseMs: number): Promise<Lookup>
  /** Keeps the lead for another `leaseMs`, if `leader` still has it. */
  extend(key: string, leader: string, leaseMs: number): Promise<void>
  /** Gives the lead up, if `leader` still has it. */
  release(key: string, leader: string): Promise<void>
  close(): Promise<void>
}

export type Lookup =
  | { kind: 'value'; value: string }
  /** The caller leads. */
  | { kind: 'lead' }
  /** Somebody else leads. */
  | { kind: 'led' }
  /** Nothing is known: go on as if there were no cache. */
  | { kind: 'unavailable' }

/** The largest value that is kept, in UTF-16 units of text (at most three times as many bytes). */
export const maxValueChars = 1024 * 1024
