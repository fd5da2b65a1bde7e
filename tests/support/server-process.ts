import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { generousLimits } from './generous-limits.ts'

/** The built server as a process of its own, as `npm start` runs it: for what cannot be done to oneself, such as kill -9. */
export interface ServerProcess extends AsyncDisposable {
  readonly url: string
  readonly pid: number
  /** Everything it has printed so far. */
  output(): string
  /** Sends the signal and waits until the process is gone; returns its exit code (null: killed by the signal). */
  kill(signal: NodeJS.Signals): Promise<number | null>
}

const projectFolder = fileURLToPath(new URL('../..', import.meta.url))
const startTimeoutMs = 180_000

/** Starts it on a free port and waits until it serves. `env` is all of its environment but the PATH. */
export async function startServerProcess(env: Record<string, string>): Promise<ServerProcess> {
  const child = spawn(process.execPath, startArguments(), {
    cwd: projectFolder,
    env: { PATH: process.env['PATH'], NODE_ENV: 'test', PORT: '0', BCRYPT_COST: '4', ...generousLimits, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const printed: string[] = []
  const exited = once(child, 'exit')
  createInterface({ input: child.stdout }).on('line', (line) => printed.push(line))
  const url = await new Promise<string>((resolve, reject) => {
    const timer = setTimeout(() => fail(`it did not start within ${startTimeoutMs} ms`), startTimeoutMs)
    const fail = (why: string): void => reject(new Error(`${why}:\n${printed.join('\n')}`))
    createInterface({ input: child.stderr }).on('line', (line) => {
      printed.push(line)
      const found = /Health\s+(http:\S+)\/health\/ready/.exec(line)?.[1]
      if (found === undefined) return
      clearTimeout(timer)
      resolve(found)
    })
    child.once('exit', (code) => {
      clearTimeout(timer)
      fail(`it ended with ${code} before it served`)
    })
  }).catch((error: unknown) => {
    child.kill('SIGKILL')
    throw error
  })

  async function kill(signal: NodeJS.Signals): Promise<number | null> {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal)
    const [code] = await exited
    return typeof code === 'number' ? code : null
  }

  return {
    url,
    pid: child.pid ?? 0,
    output: () => printed.join('\n'),
    kill,
    async [Symbol.asyncDispose]() {
      await kill('SIGKILL')
    },
  }
}

/** What `npm start` gives to Node. */
function startArguments(): string[] {
  const { scripts }: { scripts: { start: string } } = JSON.parse(readFileSync(`${projectFolder}/package.json`, 'utf8'))
  const [node, ...rest] = scripts.start.split(' ')
  if (node !== 'node') throw new Error(`npm start runs ${scripts.start}, and not Node itself`)
  return rest
}
