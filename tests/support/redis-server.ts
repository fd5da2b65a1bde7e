import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'

/** A throw-away Redis of its own, on 127.0.0.1 and a random port, that stores nothing: stopped, it has forgotten everything. */
export interface RedisTestServer extends AsyncDisposable {
  readonly url: string
  readonly port: number
  /** Kills it; connections break, new ones are refused. */
  stop(): Promise<void>
  /** Starts it again on the same port. */
  start(): Promise<void>
  /** `stop` and `start`. */
  restart(): Promise<void>
  /** SIGSTOP: connections stay and are accepted, and nothing answers. */
  freeze(): void
  thaw(): void
}

export type RedisTestServerOptions = {
  /** More of its options: `{ requirepass: 'secret' }`. */
  settings?: Readonly<Record<string, string>>
  /** Everything is in this file, which names this port. */
  configuration?: { file: string; port: number }
  /** More arguments, after the options. */
  flags?: readonly string[]
}

/**
 * The path of redis-server, from the PATH or the usual folders; null when there is none.
 * Suites that need it say so loudly and are skipped; with CI set they fail instead.
 */
export function findRedis(): string | null {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/local/bin', '/opt/homebrew/bin']
  const program = folders
    .filter((folder) => folder !== '')
    .map((folder) => join(folder, 'redis-server'))
    .find((candidate) => existsSync(candidate))
  if (program === undefined && process.env['CI'] !== undefined) throw new Error('CI must have Redis, and there is none')
  if (program === undefined) console.warn('SKIPPED: no redis-server on this machine; its suites do not run')
  return program ?? null
}

export async function startRedisServer(
  program: string,
  { settings = {}, configuration, flags = [] }: RedisTestServerOptions = {},
): Promise<RedisTestServer> {
  const folder = await mkdtemp(join(tmpdir(), 'monk-redis-'))
  const port = configuration?.port ?? Number(settings['tls-port'] ?? settings['port'] ?? (await freePort()))
  const all = { bind: '127.0.0.1', port: String(port), dir: folder, save: '', appendonly: 'no', ...settings }
  const options = configuration
    ? [configuration.file]
    : Object.entries(all).flatMap(([name, value]) => [`--${name}`, value])
  const args = [...options, ...flags]

  async function launch(): Promise<{ signal(name: NodeJS.Signals): void; stop(): Promise<void> }> {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'ignore'] })
    const output: string[] = []
    child.stdout.on('data', (data: Buffer) => output.push(data.toString()))
    const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()))
    try {
      await untilAccepting(port, () => child.exitCode !== null)
    } catch (error) {
      child.kill('SIGKILL')
      throw new Error(`redis-server did not start:\n${output.join('')}`, { cause: error })
    }
    return {
      signal: (name) => void child.kill(name),
      async stop() {
        child.kill('SIGKILL')
        await exited
      },
    }
  }

  let server = await launch()
  const relaunch = async (): Promise<void> => {
    server = await launch()
  }
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    stop: () => server.stop(),
    start: relaunch,
    async restart() {
      await server.stop()
      await relaunch()
    },
    freeze: () => server.signal('SIGSTOP'),
    thaw: () => server.signal('SIGCONT'),
    async [Symbol.asyncDispose]() {
      await server.stop()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

export async function freePort(): Promise<number> {
  const probe = createServer()
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve))
  const address = probe.address()
  await new Promise<void>((resolve) => probe.close(() => resolve()))
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

// It listens only once it is ready to answer: there is nothing to load.
async function untilAccepting(port: number, hasExited: () => boolean): Promise<void> {
  const deadline = performance.now() + 20_000
  while (!(await accepts(port))) {
    if (hasExited()) throw new Error('it ended')
    if (performance.now() > deadline) throw new Error('it did not listen within 20 s')
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    const settle = (isAccepted: boolean): void => {
      socket.destroy()
      resolve(isAccepted)
    }
    socket.once('connect', () => settle(true))
    socket.once('error', () => settle(false))
  })
}
