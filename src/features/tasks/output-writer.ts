import { fullJitterDelayMs } from '../../lib/backoff.ts'
import { AppError, ServerBusyError, ServiceUnavailableError } from '../../lib/errors.ts'
import { sleep } from '../../lib/sleep.ts'
import type { Database } from '../../platform/database/database.ts'
import type { Logger } from '../../platform/logger.ts'
import { createOutputBuffer, type OutputBuffer } from './output-buffer.ts'
import { writeOutput, type OutputWrite } from './output-statement.ts'
import type { OutputDeltaRecord } from './task-messages.ts'
import type { TaskPublisher } from './task-publisher.ts'

/** Writes the output of all runs of this process: rows first, then publish. */
export interface OutputWriter {
  /**
   * Opens the output of one run. `lastSegment` is the number of the task's latest segment (0: none) at the claim; the run's first text opens
   * the next one. `onStale` is called (at most once) when a write was refused because the lease is not ours any more.
   */
  open(run: {
    taskId: string
    leaseToken: string
    attempt: number
    lastSegment: number
    onStale: () => void
    /**
     * Called (at most once) when the text cannot be kept for another reason: it has outgrown its bound, or the database refuses it. The
     * run must fail with this error; what follows is dropped. Default: `onStale`.
     */
    onRefused?: (error: AppError) => void
  }): RunOutput
  /** Waits for the flush in flight and writes no more. */
  close(): Promise<void>
}

export interface RunOutput {
  /** A model run begins: its first text opens a segment. `reason` says why the text before it is dropped; null for a first run. */
  begin(model: string, reason: string | null): void
  /** Adds text to the current segment; never blocks, never throws. */
  append(text: string): void
  /** Waits for the flush in flight and stops writing. What the caller must write with the end of the run, in the same transaction. */
  finish(): Promise<FinishedOutput>
}

export type FinishedOutput = {
  /** The latest segment and all of its text, or null when no text ever came in this run. */
  segment: { segment: number; model: string; reason: string | null; text: string } | null
  /** The end of that text, which is not in a row yet: to be published after the commit, before the event. */
  tail: OutputDeltaRecord | null
}

export type OutputWriterDeps = {
  db: Database
  publisher: Pick<TaskPublisher, 'publishOutput'>
  logger: Logger
  /** In [0, 1). */
  random: () => number
  limits?: Partial<OutputLimits>
}

/** In UTF-16 units. */
export type OutputLimits = {
  /** The text of one run. */
  maxRunUnits: number
  /** The text of all runs of the process together. */
  maxTotalUnits: number
}

const defaultLimits: OutputLimits = { maxRunUnits: 8 * 1024 * 1024, maxTotalUnits: 64 * 1024 * 1024 }
/** What one run may write at a time, so that one does not hold up the others. */
const maxUnitsPerWrite = 64 * 1024
const maxWritesPerFlush = 256
const maxUnitsPerFlush = 512 * 1024
const retryBackoff = { initialDelayMs: 50, maxDelayMs: 1_000 }

type Run = {
  lease: { taskId: string; leaseToken: string; attempt: number }
  buffer: OutputBuffer
  /** Only what is open is written. */
  state: 'open' | 'finished' | 'stale' | 'refused'
  /** Was in a batch that the database refused: it is tried alone. */
  isSuspect: boolean
  onStale: () => void
  onRefused: (error: AppError) => void
}

type Flush = ReadonlyMap<OutputWrite, Run>

/**
 * Self-clocked: what comes is flushed at once; while a flush is under way the rest collects, for all runs in one statement (1.2 ms p50 from
 * chunk to socket, where a tick of 25 ms costs 16).
 */
export function createOutputWriter(deps: OutputWriterDeps): OutputWriter {
  const { db, publisher, logger, random } = deps
  const limits = { ...defaultLimits, ...deps.limits }
  /** Runs with text to write, in the order in which their turns come. */
  const waiting = new Set<Run>()
  const closing = new AbortController()
  let totalUnits = 0
  let flushing: { flush: Flush; done: Promise<void> } | null = null
  let loop: Promise<void> | null = null
  let published: Promise<void> = Promise.resolve()
  let failures = 0

  function append(run: Run, text: string): void {
    if (run.state !== 'open') return
    const before = run.buffer.units
    run.buffer.append(text)
    totalUnits += run.buffer.units - before
    if (run.buffer.units > limits.maxRunUnits || totalUnits > limits.maxTotalUnits) {
      refuse(run, tooLong(limits))
      return
    }
    waiting.add(run)
    wake()
  }

  function wake(): void {
    loop ??= flushAll().finally(() => {
      loop = null
      if (waiting.size > 0 && !closing.signal.aborted) wake()
    })
  }

  async function flushAll(): Promise<void> {
    // What comes in the same turn of the event loop shares a flush.
    await Promise.resolve()
    while (waiting.size > 0 && !closing.signal.aborted) {
      const flush = takeFlush()
      const done = write(flush)
      flushing = { flush, done }
      await done
      flushing = null
      if (failures > 0) await rest(fullJitterDelayMs(failures, { ...retryBackoff, random }))
    }
  }

  function takeFlush(): Flush {
    const flush = new Map<OutputWrite, Run>()
    let units = 0
    for (const run of waiting) {
      if (flush.size > 0 && (run.isSuspect || units >= maxUnitsPerFlush || flush.size >= maxWritesPerFlush)) continue
      waiting.delete(run)
      const next = run.buffer.next(maxUnitsPerWrite)
      if (next === null) continue
      flush.set({ ...run.lease, ...next }, run)
      units += next.text.length
      if (run.isSuspect) break
    }
    return flush
  }

  async function write(flush: Flush): Promise<void> {
    let accepted: ReadonlySet<OutputWrite>
    try {
      accepted = await writeOutput(db, [...flush.keys()])
    } catch (error) {
      putBack(flush, error)
      return
    }
    if (failures > 0) logger.info({ failures }, 'output is written again')
    failures = 0
    await published
    published = publisher.publishOutput([...accepted].map(toDelta))
    for (const [text, run] of flush) settle(run, text, accepted.has(text))
  }

  function settle(run: Run, text: OutputWrite, isAccepted: boolean): void {
    if (isAccepted) {
      run.buffer.confirm(text)
      run.isSuspect = false
      // To the end of the line.
      if (run.state === 'open' && run.buffer.next(1) !== null) waiting.add(run)
    } else if (run.state !== 'stale') {
      run.state = 'stale'
      waiting.delete(run)
      run.onStale()
    }
  }

  function putBack(flush: Flush, error: unknown): void {
    const runs = [...flush.values()].filter((run) => run.state === 'open')
    if (error instanceof ServiceUnavailableError || error instanceof ServerBusyError) {
      if (failures === 0) logger.warn({ err: error, runs: runs.length }, 'output has to wait for the database')
      failures += 1
    } else if (flush.size === 1) {
      for (const run of runs) {
        logger.error({ err: error, taskId: run.lease.taskId }, 'the database refused the output of a run')
        refuse(run, notStorable(error))
      }
      return
    } else {
      logger.warn({ err: error, runs: runs.length }, 'the database refused a batch of output; each run is tried alone')
      for (const run of runs) run.isSuspect = true
    }
    for (const run of runs) waiting.add(run)
  }

  function refuse(run: Run, error: AppError): void {
    run.state = 'refused'
    waiting.delete(run)
    run.onRefused(error)
  }

  async function rest(ms: number): Promise<void> {
    await sleep(ms, closing.signal).catch(() => undefined)
  }

  async function finish(run: Run): Promise<FinishedOutput> {
    if (run.state === 'open') run.state = 'finished'
    waiting.delete(run)
    if (flushing !== null && [...flushing.flush.values()].includes(run)) await flushing.done
    totalUnits -= run.buffer.units
    // The end of the run, too, would be refused.
    return run.state === 'stale' ? { segment: null, tail: null } : run.buffer.finish()
  }

  return {
    open({ taskId, leaseToken, attempt, lastSegment, onStale, onRefused = onStale }) {
      const run: Run = {
        lease: { taskId, leaseToken, attempt },
        buffer: createOutputBuffer({ taskId, attempt, lastSegment }),
        state: 'open',
        isSuspect: false,
        onStale,
        onRefused,
      }
      return {
        begin: (model, reason) => run.buffer.begin(model, reason),
        append: (text) => append(run, text),
        finish: () => finish(run),
      }
    },
    async close() {
      closing.abort(new Error('the output writer is closed'))
      await loop
      await published
    },
  }
}

function toDelta({ taskId, attempt, segment, offset, text, model, reason }: OutputWrite): OutputDeltaRecord {
  return { taskId, attempt, segment, offset, text, model, reason }
}

function tooLong({ maxRunUnits }: OutputLimits): AppError {
  return new AppError('MODEL_FAILED', `The output is longer than this server keeps: ${maxRunUnits} UTF-16 units.`)
}

function notStorable(cause: unknown): AppError {
  return new AppError('INTERNAL_SERVER_ERROR', 'The output could not be stored.', { cause })
}
