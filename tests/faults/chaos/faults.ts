import { setTimeout as delay } from 'node:timers/promises'
import { Redis } from 'ioredis'
import type { Cluster } from '../../support/cluster.ts'
import type { Berth, Fleet } from './fleet.ts'
import type { SeededRandom } from './seeded-random.ts'

const kinds = [
  'kill-worker',
  'kill-api',
  'pause-worker',
  'pause-api',
  'end-worker',
  'empty-redis',
  'restart-redis',
  'freeze-redis',
  'crash-postgres',
  'restart-postgres',
  'freeze-postgres',
] as const

export type FaultKind = (typeof kinds)[number]

/** How often each comes, when all have come once. */
const weights: Record<FaultKind, number> = {
  'kill-worker': 5,
  'kill-api': 3,
  'pause-worker': 4,
  'pause-api': 2,
  'end-worker': 3,
  'empty-redis': 3,
  'restart-redis': 2,
  'freeze-redis': 2,
  'crash-postgres': 2,
  'restart-postgres': 1,
  'freeze-postgres': 2,
}

export type Fault = {
  readonly kind: FaultKind
  /** Since the beginning. */
  readonly atMs: number
  /** For how long what it stops is away. */
  readonly durationMs: number
  /** Which of the processes, counted around. */
  readonly target: number
}

export type FaultPlanOptions = { random: SeededRandom; durationMs: number; leaseMs: number }

/** What will go wrong and when. Each kind comes once before any comes again. */
export function planFaults({ random, durationMs, leaseMs }: FaultPlanOptions): Fault[] {
  const plan: Fault[] = []
  const first = shuffled(kinds, random)
  // So close that all kinds have their turn, and far enough apart that work goes on between them.
  const gapMs = Math.min(3_000, durationMs / (kinds.length + 1))
  for (let atMs = gapMs; atMs < durationMs; atMs += random.between(gapMs / 2, gapMs * 1.5)) {
    const kind = first.pop() ?? pickWeighted(random)
    // A worker that sleeps for less than its lease goes on; for longer it must not.
    const maxMs = kind === 'pause-worker' ? leaseMs * 2.5 : 4_000
    plan.push({ kind, atMs, durationMs: random.between(200, maxMs), target: random.between(0, 1_000) })
  }
  return plan
}

export type FaultTargets = { cluster: Cluster; fleet: Fleet }

export type FaultReport = { done: ReadonlyMap<FaultKind, number>; skipped: number }

/**
 * Performs the plan. Faults overlap, but for those of the same server or process: what comes while its target is away already is skipped.
 * Resolves when everything is up again.
 */
export async function performFaults(plan: readonly Fault[], targets: FaultTargets): Promise<FaultReport> {
  const startedMs = performance.now()
  const done = new Map<FaultKind, number>()
  const busyServers = new Set<string>()
  const underWay: Promise<void>[] = []
  let skipped = 0
  for (const fault of plan) {
    await delay(Math.max(0, startedMs + fault.atMs - performance.now()))
    const work = begin(fault, targets, busyServers)
    if (work === null) skipped += 1
    else {
      done.set(fault.kind, (done.get(fault.kind) ?? 0) + 1)
      // Looked at when all have begun.
      work.catch(() => undefined)
      underWay.push(work)
    }
  }
  await Promise.all(underWay)
  return { done, skipped }
}

/** Null when the target is away already. */
function begin(fault: Fault, { cluster, fleet }: FaultTargets, busyServers: Set<string>): Promise<void> | null {
  const { kind, durationMs, target } = fault
  const [, object = ''] = kind.split('-')
  if (object === 'worker' || object === 'api') {
    const berth = berthOf(fleet, object, target)
    if (berth.isBusy) return null
    berth.isBusy = true
    return perturbProcess(fault, berth, fleet).finally(() => (berth.isBusy = false))
  }
  if (busyServers.has(object)) return null
  busyServers.add(object)
  return perturbServer({ kind, durationMs }, cluster).finally(() => busyServers.delete(object))
}

function berthOf(fleet: Fleet, role: 'api' | 'worker', target: number): Berth {
  const candidates = fleet.berths.filter((berth) => berth.role === role)
  const berth = candidates[target % candidates.length]
  if (berth === undefined) throw new Error(`there is no ${role}`)
  return berth
}

async function perturbProcess({ kind, durationMs }: Fault, berth: Berth, fleet: Fleet): Promise<void> {
  if (kind === 'pause-worker' || kind === 'pause-api') {
    process.kill(berth.member.pid, 'SIGSTOP')
    await delay(durationMs)
    process.kill(berth.member.pid, 'SIGCONT')
  } else await fleet.replace(berth, kind === 'end-worker' ? 'SIGTERM' : 'SIGKILL')
}

async function perturbServer(
  { kind, durationMs }: Pick<Fault, 'kind' | 'durationMs'>,
  { redis, postgres }: Cluster,
): Promise<void> {
  switch (kind) {
    case 'empty-redis': {
      const client = new Redis(redis.url)
      await client.flushall()
      client.disconnect()
      return
    }
    case 'restart-redis':
      await redis.stop()
      await delay(durationMs)
      return redis.start()
    case 'freeze-redis':
      redis.freeze()
      await delay(durationMs)
      return redis.thaw()
    case 'crash-postgres':
      return postgres.restart('immediate')
    case 'restart-postgres':
      return postgres.restart('fast')
    case 'freeze-postgres':
      await postgres.freeze()
      await delay(durationMs)
      return postgres.thaw()
    case 'kill-worker':
    case 'kill-api':
    case 'pause-worker':
    case 'pause-api':
    case 'end-worker':
      throw new Error(`${kind} is not for a server`)
  }
}

function pickWeighted(random: SeededRandom): FaultKind {
  const total = kinds.reduce((sum, kind) => sum + weights[kind], 0)
  let left = random.next() * total
  return kinds.find((kind) => (left -= weights[kind]) < 0) ?? kinds[0]
}

function shuffled<Value>(values: readonly Value[], random: SeededRandom): Value[] {
  return values
    .map((value) => ({ value, key: random.next() }))
    .toSorted((a, b) => a.key - b.key)
    .map(({ value }) => value)
}
