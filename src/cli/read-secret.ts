import { createInterface } from 'node:readline'
import { Writable } from 'node:stream'

/** Asks for something that must not be seen. */
export type ReadSecret = (prompt: string) => Promise<string>

/** The first line of standard input; at a terminal after the prompt, and without showing what is typed. */
export const readSecretFromTerminal: ReadSecret = async (prompt) => {
  const isTerminal = process.stdin.isTTY
  if (isTerminal) process.stderr.write(prompt)
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() })
  const lines = createInterface({ input: process.stdin, output: nowhere, terminal: isTerminal })
  try {
    for await (const line of lines) return line
    throw new Error('There is no password on standard input.')
  } finally {
    lines.close()
    if (isTerminal) process.stderr.write('\n')
  }
}
