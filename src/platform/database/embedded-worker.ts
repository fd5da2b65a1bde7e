// The worker thread in which Postgres runs: a query occupies its whole thread.
import { existsSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import type { MessagePort } from 'node:worker_threads'
import { openDurably } from './durable-postgres.ts'
import { startEmbeddedServer } from './embedded-server.ts'
import type { EmbeddedWorkerData, EmbeddedWorkerMessage } from './embedded-postgres.ts'

async function main(port: MessagePort, options: EmbeddedWorkerData): Promise<void> {
  const tell = (message: EmbeddedWorkerMessage): void => port.postMessage(message)
  const { dataFolder, socketPath, idleInTransactionMs } = options

  // In a thread this ends only the thread; what was told before still arrives.
  function fail(reason: string): never {
    tell({ broken: reason })
    return process.exit(1)
  }

  const postgres = await openDurably(dataFolder, { isNew: !existsSync(dataFolder), onAbort: fail })
  const server = await startEmbeddedServer({
    path: socketPath,
    idleInTransactionMs,
    onBroken: (error) => fail(error instanceof Error ? (error.stack ?? error.message) : String(error)),
    async session(messages) {
      const answer: Buffer[] = []
      // What it gives is a view of memory that it uses again.
      await postgres.execProtocolRawStream(messages, { onRawData: (bytes) => void answer.push(Buffer.from(bytes)) })
      return Buffer.concat(answer)
    },
  })
  port.once('message', () => void stop().catch((error: unknown) => fail(String(error))))
  tell('ready')

  async function stop(): Promise<void> {
    await server.close()
    await postgres.close()
    port.close()
  }
}

if (parentPort === null) throw new Error('this file is the entry of a worker thread')
await main(parentPort, workerData)
