import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'

/** One answer of @copilotkit/aimock: see its README for what a fixture may hold. */
export type MockFixture = { match: object; response: object; [option: string]: unknown }

/** An OpenAI-compatible server that nobody here wrote, in a process of its own. */
export interface OpenAiMock extends AsyncDisposable {
  /** For a provider's `baseUrl`. */
  readonly baseUrl: string
  /** The bodies of the chat completions that it was asked for, in order. */
  requests(): Promise<Record<string, unknown>[]>
  close(): Promise<void>
}

const startupMs = 20_000

export async function startOpenAiMock(fixtures: readonly MockFixture[]): Promise<OpenAiMock> {
  const folder = await mkdtemp(join(tmpdir(), 'openai-mock-'))
  const file = join(folder, 'fixtures.json')
  await writeFile(file, JSON.stringify({ fixtures }))
  const program = join(dirname(createRequire(import.meta.url).resolve('@copilotkit/aimock')), 'cli.js')
  const child = spawn(process.execPath, [program, '-p', '0', '-h', '127.0.0.1', '-f', file, '--strict'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const exited = once(child, 'exit')

  async function close(): Promise<void> {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
    await exited
    await rm(folder, { recursive: true, force: true })
  }

  const said: string[] = []
  const origin = await new Promise<string>((resolve, reject) => {
    const fail = (why: string): void => reject(new Error(`the OpenAI mock ${why}: ${said.join('\n')}`))
    const timer = setTimeout(() => fail(`did not listen within ${String(startupMs)} ms`), startupMs)
    const hear = (line: string): void => {
      said.push(line)
      const found = /listening on (http:\S+)/.exec(line)?.[1]
      if (found === undefined) return
      clearTimeout(timer)
      resolve(found)
    }
    createInterface(child.stdout).on('line', hear)
    createInterface(child.stderr).on('line', hear)
    child.once('exit', () => {
      clearTimeout(timer)
      fail('ended')
    })
  }).catch(async (error: unknown) => {
    await close()
    throw error
  })

  return {
    baseUrl: `${origin}/v1`,
    async requests() {
      const response = await fetch(`${origin}/__aimock/journal?path=/v1/chat/completions`)
      const entries: { body: Record<string, unknown> }[] = await response.json()
      return entries.map(({ body }) => body)
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}
