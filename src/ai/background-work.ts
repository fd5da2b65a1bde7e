import type { Logger } from '../platform/logger.ts'

/** What no caller has to wait for. */
export interface BackgroundWork {
  /** What `work` throws is logged with `what`. */
  start(what: string, work: Promise<unknown>): void
  /** Resolves when everything that was started has ended, and what that has started. */
  settled(): Promise<void>
}

export function createBackgroundWork({ logger }: { logger: Logger }): BackgroundWork {
  const running = new Set<Promise<void>>()
  return {
    start(what, work) {
      const run: Promise<void> = work.then(
        () => void running.delete(run),
        (error: unknown) => {
          running.delete(run)
          logger.error({ err: error }, what)
        },
      )
      running.add(run)
    },
    async settled() {
      while (running.size > 0) await Promise.all(running)
    },
  }
}
