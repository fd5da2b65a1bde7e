import type { MemoryLimits } from '../../platform/memory-limits.ts'
import type { ReadMemory } from '../../platform/process-vitals.ts'
import type { Logger } from '../../platform/logger.ts'

/**
 * Watches what this process holds of its memory, twice a second. A worker that reaches a limit takes no more tasks until all is below 90 % of its
 * limit again: what it runs goes on, others take what waits, and it is not killed in the middle of everything.
 */
export interface MemoryGuard {
  /** What there is too much of at the moment; null while there is room. */
  shortage(): MemoryShortage | null
  close(): void
}

export type MemoryShortage = { what: 'resident memory' | 'heap'; bytes: number; limitBytes: number }

export type MemoryGuardDeps = {
  readMemory: ReadMemory
  limits: MemoryLimits
  /** Told when a shortage begins and when it is over. Must not throw. */
  onChange: (shortage: MemoryShortage | null) => void
  logger: Logger
}

const checkMs = 500
/** It is over only well below the limit, or the worker would begin and stop with every task. */
export const resumeShare = 0.9

export function startMemoryGuard({ readMemory, limits, onChange, logger }: MemoryGuardDeps): MemoryGuard {
  let shortage: MemoryShortage | null = null

  function findShortage(share: number): MemoryShortage | null {
    const { rssBytes, heapUsedBytes } = readMemory()
    if (rssBytes >= limits.rssBytes * share)
      return { what: 'resident memory', bytes: rssBytes, limitBytes: limits.rssBytes }
    if (heapUsedBytes >= limits.heapUsedBytes * share)
      return { what: 'heap', bytes: heapUsedBytes, limitBytes: limits.heapUsedBytes }
    return null
  }

  function check(): void {
    const before = shortage
    shortage = findShortage(before === null ? 1 : resumeShare)
    if ((before === null) === (shortage === null)) return
    if (shortage !== null) logger.error(shortage, 'short of memory: this process takes no more tasks')
    else logger.info('enough memory again: this process takes tasks')
    onChange(shortage)
  }

  const timer = setInterval(check, checkMs)
  timer.unref()
  check()

  return {
    shortage: () => shortage,
    close: () => clearInterval(timer),
  }
}
