import { connect, type Socket } from 'node:net'

export type RawResponse = { status: number; head: string; body: string }

/** A TCP connection to a server, for what no HTTP client would send. */
export async function openConnection(url: string): Promise<Socket> {
  const { hostname, port } = new URL(url)
  const socket = connect({ host: hostname, port: Number(port) })
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve)
    socket.once('error', reject)
  })
  return socket
}

/** Sends `parts` as they are, and reads until the server closes the connection. */
export async function sendRaw(url: string, parts: Iterable<string | Buffer>): Promise<RawResponse> {
  const socket = await openConnection(url)
  try {
    const chunks: Buffer[] = []
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    const closed = new Promise<void>((resolve, reject) => {
      socket.once('close', () => resolve())
      // What came before a reset is what the test asks for.
      socket.once('error', () => resolve())
      socket.setTimeout(10_000, () => reject(new Error('the server did not close the connection within 10 s')))
    })
    for (const part of parts) {
      if (!socket.writable) break
      socket.write(part)
    }
    await closed
    const [head = '', ...body] = Buffer.concat(chunks).toString().split('\r\n\r\n')
    return { status: Number(head.split(' ')[1]), head, body: body.join('\r\n\r\n') }
  } finally {
    socket.destroy()
  }
}
