import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { Worker } from 'node:worker_threads'
import { createCleanup } from '../../lib/cleanup.ts'
import { lockDataDirectory } from './data-directory-lock.ts'

export type EmbeddedPostgresOptions = {
  /** Made when it does not exist. */
  dataDirectory: string
  idleInTransactionMs: number
  /** Postgres stopped by itself: nothing works any more, and the process should end. Not called after `close`. */
  onCrash: (error: Error) => void
}

/** Postgres inside this program (PGlite in a worker thread), behind a Unix socket. One for each data directory. */
export interface EmbeddedPostgres {
  readonly connectionString: string
  /** Tells `monk` commands where to find it. */
  announce(): void
  /** Stops it: all that was acknowledged is on disk. Gives the data directory back. */
  close(): Promise<void>
}

export type EmbeddedWorkerData = { dataFolder: string; socketPath: string; idleInTransactionMs: number }
export type EmbeddedWorkerMessage = 'ready' | { broken: string }

// The first start takes 5 s here (initdb); a slow machine is no error.
const startLimitMs = 120_000

// After that the thread is ended as a crash would end it, which loses nothing that was acknowledged.
const stopLimitMs = 10_000

/** Starts it, or throws DataDirectoryInUseError when another process has the directory. */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const dataDirectory = resolve(options.dataDirectory)
  const cleanup = createCleanup()
  try {
    await mkdir(dataDirectory, { recursive: true, mode: 0o700 })
    const lock = await lockDataDirectory(dataDirectory)
    cleanup.add('the lock of the data directory', async () => lock[Symbol.asyncDispose]())

    const socketFolder = await makeSocketFolder(dataDirectory)
    cleanup.add('the folder of the socket', () => rm(socketFolder, { recursive: true, force: true }))

    const worker = await startWorker(options, {
      dataFolder: join(dataDirectory, 'pg'),
      socketPath: join(socketFolder, socketName),
      idleInTransactionMs: options.idleInTransactionMs,
    })
    cleanup.add('the embedded Postgres', () => worker.stop())
    return {
      connectionString: connectionStringOf(socketFolder),
      announce: () => lock.announce(socketFolder),
      close: () => cleanup.run(),
    }
  } catch (error) {
    await cleanup.run()
    throw error
  }
}

/** How to connect to an embedded Postgres whose socket is in this folder. */
export const connectionStringOf = (socketFolder: string): string =>
  `postgresql://postgres@localhost/postgres?host=${encodeURIComponent(socketFolder)}`

// What pg looks for in a folder.
const socketName = '.s.PGSQL.5432'

// Inside of the data directory nothing is left over after a crash: it is made anew. But a socket's path may have no more
// than 107 bytes (macOS: 103), beyond which it is cut off silently.
async function makeSocketFolder(dataDirectory: string): Promise<string> {
  const fits = (folder: string): boolean => Buffer.byteLength(join(folder, socketName)) <= 100
  const inside = join(dataDirectory, 'run')
  if (fits(inside)) {
    await rm(inside, { recursive: true, force: true })
    await mkdir(inside, { mode: 0o700 })
    return inside
  }
  const temporary = [tmpdir(), '/tmp'].map((folder) => join(folder, 'monk-')).find((prefix) => fits(`${prefix}123456`))
  if (temporary === undefined)
    throw new Error('no folder has a path short enough for a socket: set TMPDIR to a short one')
  return mkdtemp(temporary)
}

async function startWorker(
  { onCrash }: EmbeddedPostgresOptions,
  workerData: EmbeddedWorkerData,
): Promise<{ stop(): Promise<void> }> {
  const worker = createWorker(workerData)
  let stopping = false
  let isReady = false
  let failure: Error | null = null
  const ready = new Promise<null>((finish) => {
    worker.on('message', (message: EmbeddedWorkerMessage) => {
      if (message === 'ready') finish(null)
      else failure = new Error(message.broken)
    })
  })
  worker.on('error', (error) => (failure = error instanceof Error ? error : new Error(String(error))))
  const exited = new Promise<Error>((finish) => {
    worker.once('exit', (code) => {
      const reason = failure === null ? `code ${code}` : failure.message
      const error = new Error(`The embedded Postgres stopped: ${reason}`, { cause: failure })
      finish(error)
      if (isReady && !stopping) onCrash(error)
    })
  })
  const problem = await within(startLimitMs, Promise.race([ready, exited]))
  if (problem !== null) {
    stopping = true
    await worker.terminate()
    throw problem === 'late' ? new Error(`The embedded Postgres did not start within ${startLimitMs} ms.`) : problem
  }
  isReady = true
  return {
    async stop() {
      stopping = true
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- that is of windows, this is a thread
      worker.postMessage('stop')
      if ((await within(stopLimitMs, exited)) === 'late') await worker.terminate()
      if (failure !== null) throw failure
    },
  }
}

function createWorker(workerData: EmbeddedWorkerData): Worker {
  const options = { workerData, name: 'postgres' }
  if (!import.meta.url.endsWith('.ts')) return new Worker(new URL('./embedded-worker.js', import.meta.url), options)
  // Run from the sources (tests, development), which Node 20 cannot load by itself, and in a thread `--import tsx` is no help.
  const entry = JSON.stringify(new URL('./embedded-worker.ts', import.meta.url))
  return new Worker(`import('tsx/esm/api').then(({ tsImport }) => tsImport(${entry}, ${entry}))`, {
    ...options,
    eval: true,
  })
}

async function within<T>(ms: number, result: Promise<T>): Promise<T | 'late'> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<'late'>((finish) => {
    timer = setTimeout(() => finish('late'), ms)
  })
  try {
    return await Promise.race([result, late])
  } finally {
    clearTimeout(timer)
  }
}
