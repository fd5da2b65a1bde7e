/** Releases what was acquired, last in, first out. */
export interface Cleanup extends AsyncDisposable {
  /** Registers a release. `name` says in an error which one failed. */
  add(name: string, release: () => void | Promise<void>): void
  /** Runs every release once, also when earlier ones fail; throws an AggregateError of the failures at the end. */
  run(): Promise<void>
}

// Node 20 has no AsyncDisposableStack; this is the part of it that we need.
export function createCleanup(): Cleanup {
  const releases: { name: string; release: () => void | Promise<void> }[] = []
  let running: Promise<void> | undefined

  async function releaseAll(): Promise<void> {
    const failures: Error[] = []
    for (let next = releases.pop(); next !== undefined; next = releases.pop()) {
      try {
        await next.release()
      } catch (error) {
        failures.push(new Error(`releasing ${next.name} failed`, { cause: error }))
      }
    }
    if (failures.length > 0) throw new AggregateError(failures, failures.map((f) => f.message).join('; '))
  }

  const run = (): Promise<void> => (running ??= releaseAll())
  return {
    add(name, release) {
      releases.push({ name, release })
    },
    run,
    [Symbol.asyncDispose]: run,
  }
}
