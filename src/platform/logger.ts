import { pino, type DestinationStream, type Logger as PinoLogger, type LevelWithSilent } from 'pino'

/** Structured logs, one JSON object a line: the object first, then the message; ids only, never a prompt or a secret. */
export type Logger = PinoLogger

export type LoggerOptions = {
  level: LevelWithSilent
  /** Where the lines go; default: standard output. */
  destination?: DestinationStream
}

// A second line of defence: nothing should log these, and when something does they do not come out.
const redactedPaths = [
  'password',
  'token',
  'accessToken',
  'refreshToken',
  'apiKey',
  'secret',
  'authorization',
  'email',
  'prompt',
]

export function createLogger({ level, destination }: LoggerOptions): Logger {
  const options = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    redact: { paths: redactedPaths.flatMap((path) => [path, `*.${path}`]), censor: '[redacted]' },
  }
  return destination === undefined ? pino(options) : pino(options, destination)
}
