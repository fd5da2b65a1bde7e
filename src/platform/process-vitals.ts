import { monitorEventLoopDelay } from 'node:perf_hooks'
import { getHeapStatistics } from 'node:v8'
import type { Clock } from '../lib/clock.ts'

/** How this process is doing, as the operating system and V8 see it. */
export interface ProcessVitals {
  /** Since the last call; the first time since the process' vitals were begun. */
  measure(): Vitals
  close(): void
}

export type Vitals = {
  /** What of the machine's memory it holds, its worker threads included. */
  rssBytes: number
  /** Of one core; more than 100 when several are busy. */
  cpuPercent: number
  /** By how much timers were late, at the 99th percentile. */
  eventLoopLagMs: number
}

/** What a process holds of the memory that it may run out of. */
export type MemoryReading = { rssBytes: number; heapUsedBytes: number }

export type ReadMemory = () => MemoryReading

export const readProcessMemory: ReadMemory = () => ({
  rssBytes: process.memoryUsage.rss(),
  heapUsedBytes: getHeapStatistics().used_heap_size,
})

const resolutionMs = 20

export function createProcessVitals({ clock, readMemory }: { clock: Clock; readMemory: ReadMemory }): ProcessVitals {
  // Its timer keeps no process alive.
  const delays = monitorEventLoopDelay({ resolution: resolutionMs })
  delays.enable()
  let cpu = process.cpuUsage()
  let measuredAtMs = clock.monotonicMs()

  return {
    measure() {
      const nowMs = clock.monotonicMs()
      const used = process.cpuUsage(cpu)
      const elapsedMs = nowMs - measuredAtMs
      const usedMs = (used.user + used.system) / 1_000
      // It records how far apart the ticks were, the interval included; nothing yet reads as 0.
      const lagMs = delays.percentile(99) / 1e6 - resolutionMs
      cpu = process.cpuUsage()
      measuredAtMs = nowMs
      delays.reset()
      return {
        rssBytes: readMemory().rssBytes,
        cpuPercent: elapsedMs > 0 ? (usedMs / elapsedMs) * 100 : 0,
        eventLoopLagMs: Math.max(0, lagMs),
      }
    },
    close() {
      delays.disable()
    },
  }
}
