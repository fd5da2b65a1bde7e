import type { WebSocket } from 'ws'

/** Close code 1013, "try again later": graphql-ws clients come back on it. */
export const tryAgainLater = 1013

export type OutboxLimits = {
  /** How much may wait for a reader who does not read. */
  maxBufferedBytes: number
  /** How long one message may wait. */
  maxStallMs: number
}

/**
 * Sends messages over a socket, each resolved when the socket has taken it: who waits for that reads its own source no faster
 * than the other side reads. A reader too far behind is cut off, so that it costs no memory.
 */
export function createOutbox(
  socket: WebSocket,
  { maxBufferedBytes, maxStallMs }: OutboxLimits,
): { send: (text: string) => Promise<void> } {
  let waiting = 0
  let stall: NodeJS.Timeout | undefined

  const cutOff = (): void => socket.close(tryAgainLater, 'Reading too slowly')

  function restartStallTimer(): void {
    clearTimeout(stall)
    if (waiting > 0) stall = setTimeout(cutOff, maxStallMs)
  }

  return {
    send(text) {
      if (socket.readyState !== socket.OPEN) return Promise.resolve()
      if (socket.bufferedAmount > maxBufferedBytes) {
        cutOff()
        return Promise.resolve()
      }
      return new Promise((resolve) => {
        waiting += 1
        if (waiting === 1) restartStallTimer()
        // A failed write closes the socket; `close` then ends everything that waits for it.
        socket.send(text, () => {
          waiting -= 1
          restartStallTimer()
          resolve()
        })
      })
    },
  }
}
