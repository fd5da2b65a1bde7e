import { ServerBusyError } from '../../lib/errors.ts'

/** Bounds work that occupies a core: a few run, a few wait for a short time, the rest is refused. */
export interface HashSlots {
  /** Runs `work` as soon as there is room. Throws ServerBusyError when too many wait or the wait was too long. */
  run<T>(work: () => Promise<T>): Promise<T>
}

export type HashSlotsOptions = {
  maxRunning: number
  maxWaiting: number
  maxWaitMs: number
}

export function createHashSlots({ maxRunning, maxWaiting, maxWaitMs }: HashSlotsOptions): HashSlots {
  let running = 0
  const waiting = new Set<() => void>()

  function acquire(): Promise<void> {
    if (running < maxRunning) {
      running += 1
      return Promise.resolve()
    }
    if (waiting.size >= maxWaiting) return Promise.reject(busy())
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        waiting.delete(start)
        reject(busy())
      }, maxWaitMs)
      const start = (): void => {
        clearTimeout(timer)
        resolve()
      }
      waiting.add(start)
    })
  }

  // The slot goes straight to the one that has waited longest, so nobody can slip in between.
  function release(): void {
    const [next] = waiting
    if (next === undefined) {
      running -= 1
      return
    }
    waiting.delete(next)
    next()
  }

  return {
    async run(work) {
      await acquire()
      try {
        return await work()
      } finally {
        release()
      }
    },
  }
}

function busy(): ServerBusyError {
  return new ServerBusyError('Too many people are signing in at this moment.')
}
