import { totalmem } from 'node:os'
import { getHeapStatistics } from 'node:v8'

/** What a process may hold of the memory that it would die of, in bytes. */
export type MemoryLimits = { rssBytes: number; heapUsedBytes: number }

const megabyte = 1024 * 1024
/** The rest is for what comes at once (answers under way, a garbage collection), for the page cache, and for other programs. */
const shareOfMachine = 0.8
const shareOfHeap = 0.9

/**
 * The limits of this process: of its resident memory `rssLimitMb`, or 80 % of what the machine or its container (cgroup) has; of V8's heap
 * 90 % of what V8 was started with (`--max-old-space-size`), because at 100 % it ends the process, however much memory the machine has left.
 */
export function memoryLimits(rssLimitMb: number | null): MemoryLimits {
  // 0, or more than any machine has: not constrained.
  const constrained = process.constrainedMemory() || Infinity
  const machineBytes = Math.min(totalmem(), constrained)
  return {
    rssBytes: rssLimitMb === null ? Math.floor(machineBytes * shareOfMachine) : rssLimitMb * megabyte,
    heapUsedBytes: Math.floor(getHeapStatistics().heap_size_limit * shareOfHeap),
  }
}
