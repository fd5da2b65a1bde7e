import type { Config } from '../config.ts'
import type { KeyTimings } from '../features/accounts/key-rotation.ts'
import type { CompletionTimings } from '../features/completions/completion-leases.ts'
import type { Cleanup } from '../lib/cleanup.ts'
import type { Clock } from '../lib/clock.ts'
import type { NewId } from '../lib/ids.ts'
import type { StartEmbedded } from '../platform/database/create-database.ts'
import type { Logger } from '../platform/logger.ts'
import type { ReadMemory } from '../platform/process-vitals.ts'

/** What tests and benchmarks put in the place of what production uses. */
export type AppOverrides = {
  clock: Clock
  newId: NewId
  random: () => number
  logger: Logger
  /** Of completions with a key. */
  completionTimings: Partial<CompletionTimings>
  /** How long keys stay in their states. */
  keyTimings: KeyTimings
  /** Between two tokens of the demo model, in milliseconds. */
  demoTokenDelayMs: number
  /** Called with the text of every SQL statement before it is sent. */
  onStatement: (sql: string) => void
  /** The embedded database broke: nothing works any more. Default: a fatal line in the log. */
  onFatal: (error: Error) => void
  /** Starts the embedded Postgres. */
  startEmbedded: StartEmbedded
  /** What this process holds of its memory. */
  readMemory: ReadMemory
}

/** What everything is built from. */
export type Basics = {
  config: Config
  /** Names this process in leases, attempts and the list of processes. */
  processId: string
  clock: Clock
  newId: NewId
  random: () => number
  readMemory: ReadMemory
  keyTimings: KeyTimings
  logger: Logger
  cleanup: Cleanup
  completionTimings: CompletionTimings
}
