/** The places in which a process runs tasks. */
export interface Slots {
  /** Takes a place, waiting for one if need be; false once closed. First come, first served. */
  take(): Promise<boolean>
  /** Takes up to `max` places that can be had now; returns how many. */
  takeFree(max: number): number
  /** How many places can be had now: none while paused, or once closed. */
  free(): number
  /** Resolves when a place can be had, or none ever will: closed. Takes none. */
  untilFree(): Promise<void>
  release(): void
  /** Nobody gets a place until `resume`; who waits goes on waiting. */
  pause(): void
  resume(): void
  /** Nobody gets a place any more; who waits is told so. */
  close(): void
}

export function createSlots(count: number): Slots {
  const waiting: ((taken: boolean) => void)[] = []
  const watching: (() => void)[] = []
  let unused = count
  let paused = false
  let closed = false

  const free = (): number => (paused || closed ? 0 : unused)

  function handOut(): void {
    while (free() > 0 && waiting.length > 0) {
      unused -= 1
      waiting.shift()?.(true)
    }
    if (free() > 0 || closed) for (const tell of watching.splice(0)) tell()
  }

  return {
    async take() {
      if (closed) return false
      if (free() > 0) {
        unused -= 1
        return true
      }
      return new Promise((resolve) => waiting.push(resolve))
    },
    takeFree(max) {
      const taken = Math.min(free(), max)
      unused -= taken
      return taken
    },
    free,
    async untilFree() {
      if (closed || free() > 0) return
      await new Promise<void>((resolve) => watching.push(resolve))
    },
    release() {
      unused += 1
      handOut()
    },
    pause() {
      paused = true
    },
    resume() {
      paused = false
      handOut()
    },
    close() {
      closed = true
      for (const tell of waiting.splice(0)) tell(false)
      handOut()
    },
  }
}
