/** A way of getting work from who submits it to who does it. Both sides are measured by the same code. */
export interface Contestant {
  readonly name: string
  /** Hands in one piece of work; resolves to its id once it is accepted. */
  submit(): Promise<string>
  /** How many pieces have not ended yet. */
  unfinished(): Promise<number>
  /** When these were accepted, begun and ended, by the database's clock. Throws when one of them did not end well. */
  times(ids: readonly string[]): Promise<WorkTimes[]>
}

/** In milliseconds since 1970. */
export type WorkTimes = { id: string; acceptedAtMs: number; startedAtMs: number; endedAtMs: number }
