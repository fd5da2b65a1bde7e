import { on, once } from 'node:events'
import { WebSocket } from 'ws'

export type Message = { type: string; id?: string; payload?: unknown }

/** A WebSocket whose frames the test writes and reads itself. */
export interface RawSocket extends AsyncDisposable {
  readonly socket: WebSocket
  send(message: Message | string): void
  /** The next message; rejects when the socket closes before. */
  receive(): Promise<Message>
  /** How the server closed it. */
  closed: Promise<{ code: number; reason: string }>
}

const timeoutMs = 10_000

export async function openSocket(url: string, protocols: string[] = ['graphql-transport-ws']): Promise<RawSocket> {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/graphql`, protocols)
  const messages = on(socket, 'message', { close: ['close'], signal: AbortSignal.timeout(timeoutMs) })
  const closed = new Promise<{ code: number; reason: string }>((resolve) => {
    socket.once('close', (code, reason) => resolve({ code, reason: String(reason) }))
  })
  await once(socket, 'open')

  return {
    socket,
    closed,
    send: (message) => socket.send(typeof message === 'string' ? message : JSON.stringify(message)),
    async receive() {
      const { value, done } = await messages.next()
      if (done === true) throw new Error(`the socket closed: ${JSON.stringify(await closed)}`)
      return JSON.parse(String(value[0]))
    },
    async [Symbol.asyncDispose]() {
      socket.terminate()
      await closed
    },
  }
}

/** Opens a socket and gets it acknowledged. */
export async function connectSocket(url: string, payload: Record<string, unknown> = {}): Promise<RawSocket> {
  const socket = await openSocket(url)
  socket.send({ type: 'connection_init', payload })
  const { type } = await socket.receive()
  if (type !== 'connection_ack') throw new Error(`expected connection_ack, got ${type}`)
  return socket
}
