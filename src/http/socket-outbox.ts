import type { Connection } from './socket-connection.ts'

/** Close code 1013, "try again later": graphql-ws clients come back on it. */
export const tryAgainLater = 1013

export type OutboxOptions = {
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
  { socket, close }: Pick<Connection, 'socket' | 'close'>,
  { maxBufferedBytes, maxStallMs }: OutboxOptions,
): { send: (text: string) => Promise<void> } {
  let waiting = 0
  let stall: NodeJS.Timeout | undefined
  // What cannot be sent any more waits for the close, which ends its source. If it returned at once, a source that never runs dry
  // would be read in a loop that leaves the close no turn.
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))

  socket.once('close', () => clearTimeout(stall))

  function cutOff(): void {
    close(tryAgainLater, 'Reading too slowly')
  }

  function restartStallTimer(): void {
    clearTimeout(stall)
    if (waiting > 0) stall = setTimeout(cutOff, maxStallMs)
  }

  return {
    send(text) {
      if (socket.readyState === socket.OPEN && socket.bufferedAmount > maxBufferedBytes) cutOff()
      if (socket.readyState !== socket.OPEN) return closed
      return new Promise((resolve) => {
        waiting += 1
        if (waiting === 1) restartStallTimer()
        socket.send(text, (error) => {
          waiting -= 1
          restartStallTimer()
          resolve(error ? closed : undefined)
        })
      })
    },
  }
}
