import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

/** A program of ours in a process of its own, run from its source. */
export interface ChildProcess extends AsyncDisposable {
  readonly pid: number
  /** The next line of its standard output; rejects when it ends before, or after 20 s. */
  nextLine(): Promise<string>
  /** Sends the signal; for one that ends it, `ended` says when. */
  kill(signal: NodeJS.Signals): void
  /** Resolves when it has ended. */
  readonly ended: Promise<void>
}

/** Starts `script` (a .ts file); disposing of it kills it. */
export function startChildProcess(script: URL, args: readonly string[]): ChildProcess {
  const child = spawn(process.execPath, ['--import', 'tsx', fileURLToPath(script), ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  return {
    pid: child.pid ?? 0,
    ended,
    kill: (signal) => void child.kill(signal),
    async nextLine() {
      const timeout = AbortSignal.timeout(20_000)
      const late = new Promise<never>((_, reject) => {
        timeout.addEventListener('abort', () => reject(new Error('the child process printed no line within 20 s')))
      })
      const line = await Promise.race([lines.next(), late])
      if (line.done === true) throw new Error('the child process ended without another line')
      return line.value
    },
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await ended
    },
  }
}
