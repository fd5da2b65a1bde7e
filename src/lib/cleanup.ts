/** Releases what was acquired, last in, first out. */
export interface Cleanup extends AsyncDisposable {
  /** Registers a release. `name` says in an error which one failed. */
  add(name: string, release: () => void | Promise<void>): void
  /**
   * Runs every release once, also when earlier ones fail; throws an AggregateError of the failures at the end. After `limitMs` milliseconds
   * (default: never) nothing is waited for any more: the one under way counts as failed, the rest are begun and left to themselves.
   */
  run(limitMs?: number): Promise<void>
}

// Node 20 has no AsyncDisposableStack; this is the part of it that we need.
export function createCleanup(): Cleanup {
  const releases: Release[] = []
  let running: Promise<void> | undefined

  async function releaseAll(limitMs: number): Promise<void> {
    const limit = startLimit(limitMs)
    const failures: Error[] = []
    for (let next = releases.pop(); next !== undefined; next = releases.pop()) {
      try {
        await Promise.race([next.release(), limit.isOver])
      } catch (error) {
        failures.push(new Error(`releasing ${next.name} failed`, { cause: error }))
      }
    }
    limit.stop()
    if (failures.length > 0) throw new AggregateError(failures, failures.map((f) => f.message).join('; '))
  }

  const run = (limitMs = Infinity): Promise<void> => (running ??= releaseAll(limitMs))
  return {
    add(name, release) {
      releases.push({ name, release })
    },
    run,
    [Symbol.asyncDispose]: () => run(),
  }
}

type Release = { name: string; release: () => void | Promise<void> }

function startLimit(limitMs: number): { isOver: Promise<never>; stop(): void } {
  let timer: NodeJS.Timeout | undefined
  const isOver = new Promise<never>((_, reject) => {
    if (limitMs === Infinity) return
    timer = setTimeout(() => reject(new Error(`it was not done ${limitMs} ms after the first release`)), limitMs)
  })
  // It may come between two releases, when nobody listens.
  isOver.catch(() => undefined)
  return { isOver, stop: () => clearTimeout(timer) }
}
