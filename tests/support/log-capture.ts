import { Writable } from 'node:stream'
import { createLogger, type Logger } from '../../src/platform/logger.ts'

export type LogLine = { level: string; msg: string } & Record<string, unknown>

/** A logger that keeps what is logged, for tests to look at. */
export interface LogCapture {
  readonly logger: Logger
  readonly lines: readonly LogLine[]
  /** Says that this error is what the test is about. Takes the line out and returns it; throws when there is none. */
  takeError(message: string): LogLine
  /** Throws when an error was logged that no test has taken. */
  assertNoErrors(): void
}

export function captureLogs(): LogCapture {
  const lines: LogLine[] = []
  const destination = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(JSON.parse(chunk.toString()))
      done()
    },
  })
  const errors = (): LogLine[] => lines.filter(({ level }) => level === 'error' || level === 'fatal')

  return {
    logger: createLogger({ level: 'debug', destination }),
    lines,
    takeError(message) {
      const line = errors().find(({ msg }) => msg === message)
      if (line === undefined) throw new Error(`no error "${message}" was logged`)
      lines.splice(lines.indexOf(line), 1)
      return line
    },
    assertNoErrors() {
      const unexpected = errors()
      if (unexpected.length > 0) throw new Error(`unexpected errors in the log: ${JSON.stringify(unexpected, null, 2)}`)
    },
  }
}
