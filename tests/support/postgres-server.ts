import { execFile, spawn } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { chown, mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'
import pg from 'pg'

const run = promisify(execFile)

/** A throw-away PostgreSQL of its own, on 127.0.0.1 and a random port. */
export interface PostgresServer extends AsyncDisposable {
  /** Superuser, database `postgres`. */
  readonly url: string
  /** Makes an empty database; returns its URL. */
  createDatabase(): Promise<string>
  /** Stops it as a crash would (`immediate`) or cleanly, and starts it again on the same port. */
  restart(mode: 'immediate' | 'fast'): Promise<void>
  /** SIGSTOP for all of its processes: connections stay and are accepted, and nothing answers. */
  freeze(): Promise<void>
  thaw(): Promise<void>
}

/**
 * Where PostgreSQL's programs are: the PATH or the distribution's folders; null when there are none.
 * Suites that need it say so loudly and are skipped; with CI set they fail instead.
 */
export function findPostgres(): string | null {
  const fromPath = (process.env['PATH'] ?? '').split(delimiter)
  const distribution = '/usr/lib/postgresql'
  const versions = existsSync(distribution)
    ? readdirSync(distribution)
        .toSorted((a, b) => Number(b) - Number(a))
        .map((v) => join(distribution, v, 'bin'))
    : []
  const folder = [...fromPath, ...versions, '/opt/homebrew/bin', '/usr/local/pgsql/bin'].find(
    (candidate) => candidate !== '' && existsSync(join(candidate, 'initdb')) && existsSync(join(candidate, 'postgres')),
  )
  if (folder === undefined && process.env['CI'] !== undefined)
    throw new Error('CI must have PostgreSQL, and there is none')
  if (folder === undefined) console.warn('SKIPPED: no PostgreSQL programs on this machine; its suites do not run')
  return folder ?? null
}

export type PostgresServerOptions = {
  /** Waits for the disk with every commit, as a real one does; the tests have no need to. */
  isDurable?: boolean
}

/** `programs` is the folder of `initdb` and `postgres`. */
export async function startPostgresServer(
  programs: string,
  { isDurable = false }: PostgresServerOptions = {},
): Promise<PostgresServer> {
  const folder = await mkdtemp(join(tmpdir(), 'monk-postgres-'))
  try {
    return await startIn(folder, { programs, isDurable })
  } catch (error) {
    await rm(folder, removing)
    throw error
  }
}

async function startIn(
  folder: string,
  { programs, isDurable }: { programs: string; isDurable: boolean },
): Promise<PostgresServer> {
  const owner = await unprivilegedUser()
  if (owner) await chown(folder, owner.uid, owner.gid)
  const data = join(folder, 'data')
  const port = await freePort()
  const options = owner ?? {}
  await run(
    join(programs, 'initdb'),
    ['-D', data, '-U', 'postgres', '-A', 'trust', '-N', '-E', 'UTF8', '--locale=C'],
    options,
  )

  const urlOf = (database: string): string => `postgresql://postgres@127.0.0.1:${port}/${database}`
  const settings = {
    listen_addresses: '127.0.0.1',
    port,
    unix_socket_directories: '',
    fsync: isDurable ? 'on' : 'off',
    max_connections: 100,
  }
  const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])

  async function launch(): Promise<Launched> {
    const child = spawn(join(programs, 'postgres'), ['-D', data, ...flags], { ...options, stdio: 'ignore' })
    const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()))
    const launched: Launched = {
      async signalAll(name) {
        if (child.pid === undefined || child.exitCode !== null) return
        // First the one that starts the others, so that none is missed.
        child.kill(name)
        for (const pid of await childrenOf(child.pid)) kill(pid, name)
      },
      async stop(signal) {
        child.kill(signal)
        await exited
      },
    }
    try {
      await untilReady(urlOf('postgres'))
      return launched
    } catch (error) {
      await launched.stop('SIGQUIT')
      throw error
    }
  }

  let server = await launch()
  let databases = 0
  return {
    url: urlOf('postgres'),
    async createDatabase() {
      const name = `test_${++databases}`
      await withClient(urlOf('postgres'), (client) => client.query(`CREATE DATABASE ${name}`))
      return urlOf(name)
    },
    async restart(mode) {
      await server.stop(mode === 'fast' ? 'SIGINT' : 'SIGQUIT')
      server = await launch()
    },
    freeze: () => server.signalAll('SIGSTOP'),
    thaw: () => server.signalAll('SIGCONT'),
    async [Symbol.asyncDispose]() {
      await server.signalAll('SIGCONT')
      await server.stop('SIGQUIT')
      await rm(folder, removing)
    },
  }
}

type Launched = { signalAll(name: NodeJS.Signals): Promise<void>; stop(signal: NodeJS.Signals): Promise<void> }

// What initdb or a server was killed in the middle of may still be writing.
const removing = { recursive: true, force: true, maxRetries: 10 }

// PostgreSQL refuses to run as root; containers and CI often are.
async function unprivilegedUser(): Promise<{ uid: number; gid: number } | null> {
  if (userInfo().uid !== 0) return null
  const id = async (flag: string): Promise<number> => Number((await run('id', [flag, 'postgres'])).stdout)
  return { uid: await id('-u'), gid: await id('-g') }
}

async function childrenOf(parent: number): Promise<number[]> {
  const { stdout } = await run('ps', ['-A', '-o', 'pid=,ppid='])
  return stdout
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number))
    .flatMap(([pid, ppid]) => (pid !== undefined && ppid === parent ? [pid] : []))
}

function kill(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {
    // It has ended meanwhile.
  }
}

async function freePort(): Promise<number> {
  const probe = createServer()
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve))
  const address = probe.address()
  await new Promise<void>((resolve) => probe.close(() => resolve()))
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

async function untilReady(url: string): Promise<void> {
  const deadline = performance.now() + 20_000
  for (;;) {
    try {
      await withClient(url, (client) => client.query('SELECT 1'))
      return
    } catch (error) {
      if (performance.now() > deadline) throw new Error('PostgreSQL did not start within 20 s', { cause: error })
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
}

async function withClient(url: string, work: (client: pg.Client) => Promise<unknown>): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000 })
  client.on('error', () => {})
  await client.connect()
  try {
    await work(client)
  } finally {
    await client.end()
  }
}
