import type { OutputDeltaRecord } from './task-messages.ts'

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
