import type { Ask } from './ways.ts'

export type Named = readonly (readonly [name: string, ask: Ask])[]

/** By the name of the way; in milliseconds. */
export type Times = ReadonlyMap<string, number[]>

/** One short answer at a time, each way once in every round, in an order by chance. */
export async function measureLatencies(ways: Named, rounds: { counted: number; warmUp: number }): Promise<Times> {
  const times = new Map<string, number[]>(ways.map(([name]) => [name, []]))
  for (let round = -rounds.warmUp; round < rounds.counted; round += 1) {
    for (const [name, ask] of shuffled(ways)) {
      const startedMs = performance.now()
      await ask('short')
      if (round >= 0) times.get(name)?.push(performance.now() - startedMs)
    }
  }
  return times
}

/** How long each chunk took from the upstream to the reader, with `streams` at once for `seconds`, 50 chunks a second in each; each way twice. */
export async function measureLateness(ways: Named, load: { streams: number; seconds: number }): Promise<Times> {
  const delays = new Map<string, number[]>(ways.map(([name]) => [name, []]))
  for (let turn = 0; turn < 2; turn += 1) {
    for (const [name, ask] of turn % 2 === 0 ? ways : ways.toReversed()) {
      const note = (wroteAtMs: number): void => {
        delays.get(name)?.push(performance.timeOrigin + performance.now() - wroteAtMs)
      }
      await Promise.all(Array.from({ length: load.streams }, () => ask(`paced-${load.seconds * 50}`, note)))
    }
  }
  return delays
}

/** Streams in a second, of this process's processor time and by the clock. */
export type Throughput = { perCpuSecond: number; perSecond: number }

const streamsPerTurn = 400
const atOnce = 50

/** 20 chunks as fast as they come. The best of four turns counts: what the machine does besides can only make one slower. */
export async function measureThroughput(ways: Named): Promise<ReadonlyMap<string, Throughput>> {
  const best = new Map<string, Throughput>()
  for (let turn = -1; turn < 4; turn += 1) {
    for (const [name, ask] of turn % 2 === 0 ? ways : ways.toReversed()) {
      const one = await throughputOf(ask)
      const before = best.get(name) ?? { perCpuSecond: 0, perSecond: 0 }
      // The first turn warms up.
      if (turn < 0) continue
      best.set(name, {
        perCpuSecond: Math.max(before.perCpuSecond, one.perCpuSecond),
        perSecond: Math.max(before.perSecond, one.perSecond),
      })
    }
  }
  return best
}

async function throughputOf(ask: Ask): Promise<Throughput> {
  const startedMs = performance.now()
  const cpuBefore = process.cpuUsage()
  let left = streamsPerTurn
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      while (left-- > 0) await ask('burst-20')
    }),
  )
  const cpu = process.cpuUsage(cpuBefore)
  return {
    perCpuSecond: streamsPerTurn / ((cpu.user + cpu.system) / 1e6),
    perSecond: streamsPerTurn / ((performance.now() - startedMs) / 1e3),
  }
}

function shuffled<T>(list: readonly T[]): T[] {
  return list
    .map((item) => ({ item, at: Math.random() }))
    .toSorted((one, other) => one.at - other.at)
    .map(({ item }) => item)
}
