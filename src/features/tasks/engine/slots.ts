/** The places in which a process runs tasks. */
export interface Slots {
  /** Takes a place, waiting for one if need be; false once closed. First come, first served. */
  take(): Promise<boolean>
  release(): void
  /** Nobody gets a place until `resume`; who waits goes on waiting. */
  pause(): void
  resume(): void
  /** Nobody gets a place any more; who waits is told so. */
  close(): void
}

export function createSlots(count: number): Slots {
  const waiting: ((taken: boolean) => void)[] = []
  let free = count
  let paused = false
  let closed = false

  function handOut(): void {
    while (free > 0 && !paused && waiting.length > 0) {
      free -= 1
      waiting.shift()?.(true)
    }
  }

  return {
    async take() {
      if (closed) return false
      if (free > 0 && !paused) {
        free -= 1
        return true
      }
      return new Promise((resolve) => waiting.push(resolve))
    },
    release() {
      free += 1
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
    },
  }
}
