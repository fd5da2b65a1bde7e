import { AppError } from '../../../lib/errors.ts'
import { createOutputBuffer, type FinishedOutput } from './output-buffer.ts'
import { createOutputFlusher, type OutputFlusherDeps, type OutputRun } from './output-flusher.ts'

export type { FinishedOutput } from './output-buffer.ts'

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

/** In UTF-16 units. */
export type OutputLimits = {
  /** The text of one run. */
  maxRunUnits: number
  /** The text of all runs of the process together. */
  maxTotalUnits: number
}

const defaultLimits: OutputLimits = { maxRunUnits: 8 * 1024 * 1024, maxTotalUnits: 64 * 1024 * 1024 }

export type OutputWriterDeps = OutputFlusherDeps & { limits?: Partial<OutputLimits> }

export function createOutputWriter(deps: OutputWriterDeps): OutputWriter {
  const flusher = createOutputFlusher(deps)
  const limits = { ...defaultLimits, ...deps.limits }
  let totalUnits = 0

  function append(run: OutputRun, text: string): void {
    if (run.state !== 'open') return
    const before = run.buffer.units
    run.buffer.append(text)
    totalUnits += run.buffer.units - before
    if (run.buffer.units <= limits.maxRunUnits && totalUnits <= limits.maxTotalUnits) {
      flusher.add(run)
      return
    }
    run.state = 'refused'
    run.onRefused(tooLong(limits))
  }

  async function finish(run: OutputRun): Promise<FinishedOutput> {
    if (run.state === 'open') run.state = 'finished'
    await flusher.remove(run)
    totalUnits -= run.buffer.units
    // The end of the run, too, would be refused.
    return run.state === 'stale' ? { segment: null, tail: null } : run.buffer.finish()
  }

  return {
    open({ taskId, leaseToken, attempt, lastSegment, onStale, onRefused = onStale }) {
      const run: OutputRun = {
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
    close: () => flusher.close(),
  }
}

function tooLong({ maxRunUnits }: OutputLimits): AppError {
  return new AppError('MODEL_FAILED', `The output is longer than this server keeps: ${maxRunUnits} UTF-16 units.`)
}
