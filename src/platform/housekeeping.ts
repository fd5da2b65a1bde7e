import type { Logger } from './logger.ts'

/** Removes what is over for long, a part at a time, once an hour. Any process may. */
export interface Housekeeping {
  /** Removes some, and returns how many: as many as there may be at once, when there are more. */
  round(): Promise<number>
  /** Ends the rounds; waits for the one under way. */
  stop(): Promise<void>
}

export type HousekeepingOptions = {
  /** For the log: "could not be removed". */
  what: string
  round: () => Promise<number>
  /** A round that removed so many is followed by the next at once. */
  maxPerRound: number
  logger: Logger
  /** Default: an hour. */
  everyMs?: number | undefined
}

export function startHousekeeping(options: HousekeepingOptions): Housekeeping {
  const { what, round, maxPerRound, logger, everyMs = 3_600_000 } = options
  let running: Promise<void> = Promise.resolve()
  let isStopped = false

  async function rounds(): Promise<void> {
    try {
      while (!isStopped && (await round()) >= maxPerRound);
    } catch (error) {
      logger.warn({ err: error }, `${what} could not be removed; it is tried again`)
    }
  }

  const timer = setInterval(() => {
    running = running.then(rounds)
  }, everyMs)
  timer.unref()
  return {
    round,
    async stop() {
      isStopped = true
      clearInterval(timer)
      await running
    },
  }
}
