import { spreadOf } from '../first-token/timed-text.ts'
import type { Latencies, Throughput } from './measure.ts'

/** What one contestant did in all its rounds. */
export type Result = { name: string; latencies: Latencies[]; throughputs: Throughput[] }

export const goals = { toRunningP50Ms: 10, toRunningP99Ms: 25, tasksPerSecond: 200 } as const

export function latencyTable(results: readonly Result[]): string {
  const rows = results.map(({ name, latencies }) => [
    name.padEnd(12),
    spreadText(latencies.flatMap(({ toRunning }) => toRunning)),
    spreadText(latencies.flatMap(({ submit }) => submit)),
    spreadText(latencies.flatMap(({ callToRunning }) => callToRunning)),
  ])
  const heads = ['accepted → running', 'call → answer', 'call → running'].map((head) => head.padStart(24))
  const columns = Array.from({ length: 3 }, () => ['p50', 'p99', 'max'].map((head) => head.padStart(8)).join(''))
  return [['', ...heads], ['', ...columns], ...rows]
    .map(([first = '', ...rest]) => [first.padEnd(12), ...rest].join('  '))
    .join('\n')
}

export function throughputTable(results: readonly Result[]): string {
  const rows = results.map(({ name, throughputs }) => {
    const figures = (['overall', 'plateau', 'accepted'] as const).map((kind) =>
      throughputs.map((one) => one[kind].toFixed(0).padStart(6)).join(''),
    )
    return [name.padEnd(12), ...figures.map((figure) => figure.padStart(20))].join('')
  })
  const heads = ['all', 'middle 80 %', 'accepted'].map((head) => head.padStart(20)).join('')
  return [`${''.padEnd(12)}${heads}`, ...rows].join('\n')
}

/** The medians of the rounds are judged for throughput, all rounds together for latencies. Returns what missed its goal. */
export function missedGoals({ latencies, throughputs }: Result): string[] {
  const { p50, p99 } = spreadOf(latencies.flatMap(({ toRunning }) => toRunning))
  const overall = spreadOf(throughputs.map((one) => one.overall)).p50
  // Not "above it": a median of nothing is NaN, and misses the goal too.
  return [
    ...(p50 <= goals.toRunningP50Ms ? [] : [`accepted → running, p50: ${p50.toFixed(1)} ms`]),
    ...(p99 <= goals.toRunningP99Ms ? [] : [`accepted → running, p99: ${p99.toFixed(1)} ms`]),
    ...(overall >= goals.tasksPerSecond ? [] : [`saturated: ${overall.toFixed(0)} tasks/s`]),
  ]
}

function spreadText(values: readonly number[]): string {
  const { p50, p99, max } = spreadOf(values)
  return [p50, p99, max].map((ms) => ms.toFixed(1).padStart(8)).join('')
}
