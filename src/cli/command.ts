/** One command of `monk`. It resolves when it is done, and throws what went wrong. */
export type Command = (context: CommandContext) => Promise<void>

export type CommandContext = {
  /** What follows its name. */
  args: readonly string[]
  env: NodeJS.ProcessEnv
  /** Writes one line for the person at the terminal. */
  output: (text: string) => void
}

/** The command line is not one that the command knows; the message says what it may be. */
export class UsageError extends Error {
  constructor(usage: readonly string[]) {
    super(`usage: ${usage.join('\n       ')}`)
    this.name = 'UsageError'
  }
}
