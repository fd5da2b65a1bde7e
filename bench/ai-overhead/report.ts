import type { Throughput, Times } from './measure.ts'

/** A promise, and what was measured of it. */
export type Judged = { what: string; ms: number; goalMs: number }

export function quantile(list: readonly number[], share: number): number {
  const sorted = list.toSorted((one, other) => one - other)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN
}

/** `share`: of the distributions, what is compared with the first way's. */
export function timesTable(times: Times, share: number): string {
  const base = quantile([...times.values()][0] ?? [], share)
  const head = ['count', 'p10', 'p50', 'p99', 'max'].map((name) => name.padStart(9)).join('')
  const rows = [...times].map(([name, list]) => {
    const figures = [0.1, 0.5, 0.99, 1].map((one) => quantile(list, one).toFixed(2).padStart(9)).join('')
    const over = (quantile(list, share) - base).toFixed(2).padStart(11)
    return `${name.padEnd(26)}${String(list.length).padStart(9)}${figures}${over}`
  })
  return [`${''.padEnd(26)}${head}${'over SDK'.padStart(11)}`, ...rows].join('\n')
}

export function throughputTable(throughputs: ReadonlyMap<string, Throughput>): string {
  return [...throughputs]
    .map(([name, { perCpuSecond, perSecond }]) => {
      const [ofCpu, byClock] = [perCpuSecond, perSecond].map((figure) => figure.toFixed(0).padStart(6))
      return `${name.padEnd(26)}${ofCpu ?? ''} streams per second of processor time, ${byClock ?? ''} by the clock`
    })
    .join('\n')
}

/** Prints each goal with what was measured; true when all are met. */
export function judge(all: readonly Judged[]): boolean {
  for (const { what, ms, goalMs } of all)
    // Not "above it": what was not measured is NaN, and misses the goal too.
    console.log(`${ms <= goalMs ? 'met   ' : 'MISSED'}  ${what}: ${ms.toFixed(2)} ms, the goal is ${goalMs} ms`)
  return all.every(({ ms, goalMs }) => ms <= goalMs)
}
