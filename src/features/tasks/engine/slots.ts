/** The places in which a process runs tasks. */
export interface Slots {
  /** Takes a place, waiting for one if need be; false once closed. First come, first served. */
  take(): Promise<boolean>
  release(): void
  /** Nobody gets a place any more; who waits is told so. */
  close(): void
}

export function createSlots(count: number): Slots {
  const waiting: ((taken: boolean) => void)[] = []
  let free = count
  let closed = false

  return {
    async take() {
      if (closed) return false
      if (free > 0) {
        free -= 1
        return true
      }
      return new Promise((resolve) => waiting.push(resolve))
    },
    release() {
      const next = waiting.shift()
      if (next === undefined) free += 1
      else next(true)
    },
    close() {
      closed = true
      for (const tell of waiting.splice(0)) tell(false)
    },
  }
}
