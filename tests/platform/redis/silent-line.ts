import { connect, createServer, type Socket } from 'node:net'

/** A line to a server that can die without a word: no end, no reset, as when a machine or a router on the way vanishes. */
export interface SilentLine extends AsyncDisposable {
  readonly port: number
  /** Whatever is connected now carries nothing any more; who connects anew gets through. */
  goSilent(): void
}

export async function startSilentLine(serverPort: number): Promise<SilentLine> {
  const pairs = new Set<readonly [Socket, Socket]>()
  const listener = createServer((near) => {
    const far = connect(serverPort, '127.0.0.1')
    const pair = [near, far] as const
    pairs.add(pair)
    near.pipe(far)
    far.pipe(near)
    for (const socket of pair) {
      socket.on('error', () => {})
      socket.on('close', () => {
        pairs.delete(pair)
        for (const other of pair) other.destroy()
      })
    }
  })
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
  const address = listener.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return {
    port: address.port,
    goSilent() {
      for (const [near, far] of pairs) {
        near.unpipe(far).resume()
        far.unpipe(near).resume()
      }
    },
    async [Symbol.asyncDispose]() {
      for (const pair of pairs) for (const socket of pair) socket.destroy()
      await new Promise<void>((resolve) => listener.close(() => resolve()))
    },
  }
}
