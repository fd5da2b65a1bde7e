import type { WebSocket } from 'ws'

/** Pings the other side every `intervalMs` and drops the connection when the answer to one has not come by the next. */
export function keepAlive(socket: WebSocket, intervalMs: number): void {
  let answered = true
  const timer = setInterval(() => {
    if (!answered) return socket.terminate()
    answered = false
    socket.ping()
  }, intervalMs)
  timer.unref()
  socket.on('pong', () => {
    answered = true
  })
  socket.once('close', () => clearInterval(timer))
}
