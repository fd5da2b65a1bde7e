import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'

/** Passes connections on to a PostgreSQL, can lose an answer, and can be away. */
export interface PostgresProxy extends AsyncDisposable {
  /** The server's URL, by way of the proxy. */
  readonly url: string
  /**
   * Breaks the connection that next uses the prepared statement `name` with parameters in which `marker` is, once the server has answered: what
   * the statement did is committed, and the client never hears of it. Resolves when that has happened.
   */
  loseAnswerOf(name: string, marker?: string): Promise<void>
  /** Breaks all connections, and each new one, until `comeBack`. */
  goAway(): void
  comeBack(): void
}

type Trap = { name: string; marker: string; sprung: () => void }

export async function startPostgresProxy(serverUrl: string): Promise<PostgresProxy> {
  const target = new URL(serverUrl)
  const sockets = new Set<Socket>()
  let trap: Trap | null = null
  let isAway = false

  const server = createServer((client) => {
    if (isAway) return void client.destroy()
    const upstream = connect(Number(target.port), target.hostname)
    let springing: Trap | null = null
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      // The other end may be gone: that is what this is for.
      socket.on('error', () => undefined)
      socket.on('close', () => {
        sockets.delete(socket)
        client.destroy()
        upstream.destroy()
      })
    }
    client.on('data', (bytes: Buffer) => {
      if (trap !== null && bytes.includes(`${trap.name}\0`) && bytes.includes(trap.marker)) {
        springing = trap
        trap = null
      }
      upstream.write(bytes)
    })
    upstream.on('data', (bytes: Buffer) => {
      if (springing === null) return client.write(bytes)
      // The end of an answer is ReadyForQuery, outside of a transaction: 'Z', a length of 5, 'I'.
      if (bytes.subarray(-6).equals(readyForQuery)) {
        springing.sprung()
        client.destroy()
      }
      return true
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the proxy has no port')
  const url = new URL(serverUrl)
  url.port = String(address.port)

  return {
    url: url.href,
    loseAnswerOf(name, marker = '') {
      return new Promise((sprung) => (trap = { name, marker, sprung }))
    },
    goAway() {
      isAway = true
      for (const socket of sockets) socket.destroy()
    },
    comeBack: () => void (isAway = false),
    async [Symbol.asyncDispose]() {
      server.close()
      for (const socket of sockets) socket.destroy()
      if (server.listening) await once(server, 'close')
    },
  }
}

const readyForQuery = Buffer.from([0x5a, 0, 0, 0, 5, 0x49])
