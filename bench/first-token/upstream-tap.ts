import { connect, createServer, type Socket } from 'node:net'
import { once } from 'node:events'
import type { TimedPiece } from './timed-text.ts'

/**
 * A TCP proxy in front of an OpenAI-compatible server that notes when each piece of text passes. The bytes are passed on before they
 * are looked at, so that looking delays nobody.
 */
export interface UpstreamTap extends AsyncDisposable {
  readonly baseUrl: string
  /** What has passed in answer to the request with `labelled(label)` in its prompt, oldest first; forgets it. */
  take(label: string): readonly TimedPiece[]
}

/** Goes into a prompt, so that the proxy knows whose answer passes. */
export const labelled = (label: string): string => `[stream ${label}]`

export async function startUpstreamTap(upstreamUrl: string): Promise<UpstreamTap> {
  const upstream = new URL(upstreamUrl)
  const records = new Map<string, TimedPiece[]>()
  const sockets = new Set<Socket>()

  function follow(client: Socket): void {
    const server = connect({ host: upstream.hostname, port: Number(upstream.port), noDelay: true })
    const reader = createExchangeReader((label) => {
      const pieces: TimedPiece[] = []
      records.set(label, pieces)
      return pieces
    })
    client.on('data', (bytes: Buffer) => {
      server.write(bytes)
      reader.request(bytes)
    })
    server.on('data', (bytes: Buffer) => {
      const atMs = performance.now()
      client.write(bytes)
      reader.response(bytes, atMs)
    })
    for (const [socket, other] of [
      [client, server],
      [server, client],
    ] as const) {
      sockets.add(socket)
      socket.on('end', () => other.end())
      // Whoever is at the other end must see it break, too; what it means is for them to say.
      socket.on('error', () => other.destroy())
      socket.on('close', () => sockets.delete(socket))
    }
  }

  const server = createServer({ noDelay: true }, follow)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the proxy listens on no port')

  return {
    baseUrl: `http://127.0.0.1:${address.port}${upstream.pathname}`,
    take(label) {
      const pieces = records.get(label)
      if (pieces === undefined) throw new Error(`no request with the label ${label} has passed`)
      records.delete(label)
      return pieces
    },
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close')
      server.close()
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}

type ExchangeReader = { request(bytes: Buffer): void; response(bytes: Buffer, atMs: number): void }

/**
 * Reads the exchanges of one HTTP/1.1 connection: a request, then its answer. A line of the answer is never split by the framing of
 * the body, because the server writes each event at once; if it were, JSON.parse would say so.
 */
function createExchangeReader(begin: (label: string) => TimedPiece[]): ExchangeReader {
  let request = ''
  let line = ''
  let pieces: TimedPiece[] = []

  return {
    request(bytes) {
      request += bytes.toString('latin1')
      const label = /\[stream ([^\]]+)\]/.exec(request)?.[1]
      if (label === undefined) return
      request = ''
      line = ''
      pieces = begin(label)
    },
    response(bytes, atMs) {
      const lines = (line + bytes.toString('latin1')).split('\n')
      line = lines.pop() ?? ''
      for (const text of lines.map(contentOf)) {
        const last = pieces.at(-1)
        const offset = last === undefined ? 0 : last.offset + last.text.length
        if (text !== '') pieces.push({ offset, text, atMs })
      }
    },
  }
}

type Chunk = { choices: { delta: { content?: string | null } }[] }

function contentOf(line: string): string {
  if (!line.startsWith('data: {')) return ''
  const { choices }: Chunk = JSON.parse(line.slice('data: '.length))
  return choices[0]?.delta.content ?? ''
}
