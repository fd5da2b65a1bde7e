// The worker thread in which Postgres runs: a query occupies its whole thread.
import { existsSync } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { parentPort, workerData } from 'node:worker_threads'
import { PGlite } from '@electric-sql/pglite'
import { startEmbeddedServer } from './embedded-server.ts'
import type { EmbeddedWorkerData, EmbeddedWorkerMessage } from './embedded-postgres.ts'

async function main(port: NonNullable<typeof parentPort>, options: EmbeddedWorkerData): Promise<void> {
  const tell = (message: EmbeddedWorkerMessage): void => port.postMessage(message)
  const { dataFolder, socketPath, idleInTransactionMs } = options
  if (!existsSync(dataFolder)) await initialise(dataFolder)
  const postgres = await PGlite.create(dataFolder)
  const server = await startEmbeddedServer({
    path: socketPath,
    idleInTransactionMs,
    onBroken(error) {
      // Out of the promise, so that it ends the thread: nothing here can go on.
      setImmediate(() => {
        throw error
      })
    },
    async session(messages) {
      const answer: Buffer[] = []
      // What it gives is a view of memory that it uses again.
      await postgres.execProtocolRawStream(messages, { onRawData: (bytes) => void answer.push(Buffer.from(bytes)) })
      return Buffer.concat(answer)
    },
  })
  port.once('message', () => {
    void stop().then(
      () => port.close(),
      (error: unknown) =>
        setImmediate(() => {
          throw error
        }),
    )
  })
  tell('ready')

  async function stop(): Promise<void> {
    await server.close()
    await postgres.close()
    tell('closed')
  }
}

// In a folder beside it first: what is under the final name is whole, also when this process is killed half-way.
async function initialise(dataFolder: string): Promise<void> {
  const unfinished = `${dataFolder}.new`
  await rm(unfinished, { recursive: true, force: true })
  const postgres = await PGlite.create(unfinished)
  await postgres.close()
  await rename(unfinished, dataFolder)
}

if (parentPort === null) throw new Error('this file is the entry of a worker thread')
await main(parentPort, workerData)
