import { cpus, loadavg, type CpuInfo } from 'node:os'
import { performance } from 'node:perf_hooks'
import { spreadOf, type Spread } from './timed-text.ts'

/** The delays of one reader's streams, each token by token, in milliseconds. */
export type Measured = { name: string; streams: readonly (readonly number[])[] }

export type MeasuredPart = { title: string; measured: readonly Measured[]; busy: Busy }

/** How much of its time was spent working: all processors of the machine, and this process' event loop. 0 to 1. */
export type Busy = { machine: number; loop: number }

/** Starts to watch; the function tells what was seen since. */
export function watchBusy(): () => Busy {
  const cpusBefore = cpus()
  const loopBefore = performance.eventLoopUtilization()
  return () => {
    const before = cpuTimes(cpusBefore)
    const after = cpuTimes(cpus())
    const idle = (after.idle - before.idle) / (after.total - before.total)
    return { machine: 1 - idle, loop: performance.eventLoopUtilization(loopBefore).utilization }
  }
}

export function machineFacts(): string {
  const processors = cpus()
  return `Node ${process.version}, ${processors.length} × ${processors[0]?.model ?? 'unknown'}, ${process.platform}`
}

/** One minute, five, fifteen. */
export const loadAverages = (): string =>
  loadavg()
    .map((load) => load.toFixed(2))
    .join(' ')

export const firstToken = ({ streams }: Measured): Spread => spreadOf(streams.flatMap((delays) => delays.slice(0, 1)))

export function partTable({ title, measured, busy }: MeasuredPart): string {
  const rows = measured.map((one) => {
    const first = firstToken(one)
    const every = spreadOf(one.streams.flat())
    return `${one.name.padEnd(12)}${count(first)}${times(first)}   ${count(every)}${times(every)}`
  })
  return [
    `${title} (processors ${percent(busy.machine)} busy, this event loop ${percent(busy.loop)})`,
    `${''.padEnd(12)}${'first tokens'.padStart(14)}${'p50'.padStart(8)}${'p99'.padStart(8)}${'max'.padStart(8)}` +
      `   ${'all tokens'.padStart(14)}${'p50'.padStart(8)}${'p99'.padStart(8)}${'max'.padStart(8)}`,
    ...rows,
    ...againstBaseline(measured),
  ].join('\n')
}

function againstBaseline([baseline, ...others]: readonly Measured[]): string[] {
  if (baseline === undefined) return []
  const { p50 } = firstToken(baseline)
  return others.map((one) => {
    const own = firstToken(one).p50
    return `  ${one.name} − ${baseline.name}, p50 of first tokens: ${(own - p50).toFixed(2)} ms (${(own / p50).toFixed(1)} times)`
  })
}

const count = (spread: Spread): string => String(spread.count).padStart(14)
const times = ({ p50, p99, max }: Spread): string => [p50, p99, max].map((ms) => ms.toFixed(2).padStart(8)).join('')
const percent = (part: number): string => `${Math.round(part * 100)} %`

function cpuTimes(processors: readonly CpuInfo[]): { idle: number; total: number } {
  const all = processors.flatMap(({ times: spent }) => Object.values(spent))
  const idle = processors.reduce((sum, { times: spent }) => sum + spent.idle, 0)
  return { idle, total: all.reduce((sum, ms) => sum + ms, 0) }
}
