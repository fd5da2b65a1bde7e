import { createServer } from 'node:net'
import type { Socket } from 'node:net'
import {
  closeStatementMessage,
  createMessageSplitter,
  isCopyFromClient,
  leavesTransactionOpen,
  queryMessage,
  readStartup,
  renameStatement,
  startupMessage,
  statementNameOf,
  syncMessage,
} from './wire-protocol.ts'
import type { ClientMessage } from './wire-protocol.ts'

/** The one session that PGlite is: takes whole messages, gives what Postgres answers. */
export type EmbeddedSession = (messages: Buffer) => Promise<Buffer>

export type EmbeddedServerOptions = {
  session: EmbeddedSession
  /** Of the Unix socket. Its folder must be readable by this user only: nobody is asked for a password. */
  path: string
  /** How long a connection may keep the session in an open transaction without using it, in milliseconds. */
  idleInTransactionMs: number
  /** The session itself broke: nothing will work any more. */
  onBroken: (error: unknown) => void
}

/**
 * Lets several connections share one session, as if each had its own: a unit of work (everything up to a Sync, or a simple
 * query) runs as a whole, a transaction keeps the session until it ends, prepared statements have names of their own, and
 * what a connection leaves behind when it goes (a transaction, its statements) is cleared away.
 *
 * The server that comes with PGlite (pglite-socket 0.2) lets units of different connections mix message by message: a Bind
 * meets the unnamed statement of somebody else. And statements outlive their connection, so that a reconnecting pool
 * collides with itself.
 */
export interface EmbeddedServer {
  /** Ends all connections and their transactions. The session is not closed. */
  close(): Promise<void>
}

type Connection = {
  readonly id: number
  readonly socket: Socket
  /** Names as in the session. */
  readonly statements: Set<string>
  /** The messages of a unit that is not whole yet. */
  partial: ClientMessage[]
}
/** A unit of work, or (null) clearing away what the connection has left behind. */
type Job = { connection: Connection; messages: Buffer | null }

const maxMessageBytes = 256 * 1024 * 1024
const maxConnections = 16

export async function startEmbeddedServer(options: EmbeddedServerOptions): Promise<EmbeddedServer> {
  const { session, path, idleInTransactionMs, onBroken } = options
  const greeting = await session(startupMessage())
  const connections = new Set<Connection>()
  const jobs: Job[] = []
  let holder: Connection | null = null
  let idleTimer: NodeJS.Timeout | undefined
  let working = false
  let closing = false
  let lastWork: Promise<void> = Promise.resolve()
  let ids = 0

  const server = createServer((socket) => {
    const connection: Connection = { id: ++ids, socket, statements: new Set(), partial: [] }
    const split = createMessageSplitter(maxMessageBytes)
    connections.add(connection)
    socket.on('data', (chunk) => {
      try {
        for (const message of split(chunk)) receive(connection, message)
      } catch (error) {
        socket.destroy(error instanceof Error ? error : undefined)
      }
    })
    // The client sees that its connection is gone; there is nobody else to tell.
    socket.on('error', () => {})
    socket.on('close', () => leave(connection))
  })
  server.maxConnections = maxConnections
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(path, resolve)
  })

  function receive(connection: Connection, message: ClientMessage): void {
    if (message.type === null) return greet(connection, message.bytes)
    if (message.type === 'X') return void connection.socket.end()
    // The session would wait for data that cannot reach it in the middle of a unit, and Postgres would end.
    if (isCopyFromClient(message)) return void connection.socket.destroy()
    const name = statementNameOf(message)
    const ownName = name === null ? null : `${connection.id}:${name}`
    if (ownName !== null && message.type === 'P') connection.statements.add(ownName)
    connection.partial.push(ownName === null ? message : renameStatement(message, ownName))
    // A query and a function call are units of their own; everything else ends with a Sync.
    if (!'QFS'.includes(message.type)) return
    const messages = Buffer.concat(connection.partial.map(({ bytes }) => bytes))
    connection.partial = []
    enqueue({ connection, messages })
  }

  function greet({ socket }: Connection, bytes: Buffer): void {
    const request = readStartup(bytes)
    if (request === 'startup') socket.write(greeting)
    else if (request === 'encryption') socket.write('N')
    else socket.destroy()
  }

  function leave(connection: Connection): void {
    if (closing) return
    connections.delete(connection)
    const kept = jobs.filter((job) => job.connection !== connection)
    jobs.splice(0, jobs.length, ...kept)
    enqueue({ connection, messages: null })
  }

  function enqueue(job: Job): void {
    jobs.push(job)
    if (!working) lastWork = work().catch(onBroken)
  }

  async function work(): Promise<void> {
    working = true
    try {
      for (let job = takeNext(); job !== undefined; job = takeNext()) {
        clearTimeout(idleTimer)
        await (job.messages === null ? clear(job.connection) : execute(job.connection, job.messages))
      }
    } finally {
      working = false
    }
  }

  // Whoever has a transaction open goes first: nobody else may use the session.
  function takeNext(): Job | undefined {
    const index = holder === null ? 0 : jobs.findIndex(({ connection }) => connection === holder)
    return index === -1 ? undefined : jobs.splice(index, 1)[0]
  }

  async function execute(connection: Connection, messages: Buffer): Promise<void> {
    const answer = await session(messages)
    connection.socket.write(answer)
    holder = leavesTransactionOpen(answer) ? connection : null
    if (holder !== null) idleTimer = setTimeout(() => connection.socket.destroy(), idleInTransactionMs).unref()
  }

  async function clear({ id, statements }: Connection): Promise<void> {
    if (holder?.id === id) await session(queryMessage('ROLLBACK'))
    holder = null
    if (statements.size === 0) return
    await session(Buffer.concat([...[...statements].map(closeStatementMessage), syncMessage()]))
  }

  return {
    async close() {
      closing = true
      clearTimeout(idleTimer)
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      for (const { socket } of connections) socket.destroy()
      await closed
      await lastWork
    },
  }
}
