import { randomInt } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { findClusterPrograms, startCluster, type Cluster } from '../support/cluster.ts'
import { rowId } from '../support/first-task.ts'
import { auditAtRest, type Audit } from './audit.ts'
import { auditFeeds, auditReaders } from './chaos/audit-followers.ts'
import { auditAgainstUpstream } from './chaos/audit-upstream.ts'
import { startClients } from './chaos/clients.ts'
import { performFaults, planFaults } from './chaos/faults.ts'
import { startFleet } from './chaos/fleet.ts'
import { setScene } from './chaos/scene.ts'
import { createSeededRandom } from './chaos/seeded-random.ts'
import { openSession } from './chaos/session.ts'
import { startUpstream, type Upstream } from './chaos/upstream.ts'

const programs = findClusterPrograms()
const seed = Number(process.env['CHAOS_SEED'] ?? randomInt(2 ** 31))
const seconds = Number(process.env['CHAOS_SECONDS'] ?? 25)
/** Short, so that many leases end while it lasts. */
const leaseMs = 4_000
/** For what must come in the end, on a machine that is slow and busy. */
const patienceMs = 180_000
const maxProblemsShown = 30

describe.skipIf(programs === null)('processes and servers that fail all the time', () => {
  test(
    `nothing is lost, nothing comes twice (CHAOS_SEED=${seed} CHAOS_SECONDS=${seconds})`,
    async () => {
      const { problems, figures } = await causeChaos()
      console.log(`chaos: ${JSON.stringify({ seed, seconds, ...figures })}`)
      expect(problems.slice(0, maxProblemsShown)).toEqual([])
    },
    (seconds * 1_000 + patienceMs) * 2,
  )
})

type Outcome = { problems: string[]; figures: Record<string, unknown> }

async function causeChaos(): Promise<Outcome> {
  const random = createSeededRandom(seed)
  const problems: string[] = []
  const onProblem = (problem: string): void => void problems.push(problem)
  const lap = startStopwatch()
  await using upstream = await startUpstream(random.branch('upstream'))
  await using cluster = await startServers(upstream)
  const fleet = await startFleet(cluster, { apis: 2, workers: seconds > 60 ? 3 : 2 })
  const session = await openSession({ fleet, random: random.branch('session'), patienceMs })
  const scene = await setScene(session)
  const secondsToStart = lap()

  const clients = startClients({ fleet, session, scene, random: random.branch('clients'), onProblem })
  try {
    const plan = planFaults({ random: random.branch('faults'), durationMs: seconds * 1_000, leaseMs })
    const faults = await performFaults(plan, { cluster, fleet })
    await clients.stopSubmitting()
    const secondsOfFaults = lap()
    const audit = await auditAtRest(cluster.databaseUrl, patienceMs)
    const secondsToRest = lap()
    const feed = audit.feeds.get(rowId(scene.workspaceId)) ?? []
    const { readers, feeds } = await clients.finishReading(feed.length)
    problems.push(
      ...audit.problems,
      ...auditAgainstUpstream(audit.tasks, clients.accepted, upstream.calls),
      ...auditReaders(readers, audit),
      ...auditFeeds(feeds, feed),
      ...fleet.errors().map((line) => `a process has logged an error: ${line}`),
    )
    return {
      problems,
      figures: {
        ...describeRows(audit),
        upstreamCalls: upstream.calls.length,
        tasksFollowed: readers.length,
        faults: Object.fromEntries(faults.done),
        faultsSkipped: faults.skipped,
        timesInSeconds: { start: secondsToStart, faults: secondsOfFaults, rest: secondsToRest, read: lap() },
      },
    }
  } finally {
    clients.giveUp()
  }
}

async function startServers({ baseUrl }: Upstream): Promise<Cluster> {
  if (programs === null) throw new Error('the suite is skipped without its programs')
  return startCluster(programs, {
    apis: 0,
    workers: 0,
    env: {
      OPENAI_API_KEY: 'none',
      OPENAI_BASE_URL: baseUrl,
      AI_DEFAULT_MODELS: 'openai/test-model',
      LEASE_MS: String(leaseMs),
      SHUTDOWN_GRACE_MS: '1000',
      LOG_LEVEL: 'info',
    },
  })
}

function describeRows({ tasks, feeds }: Audit): Record<string, unknown> {
  return {
    tasks: countBy(tasks.map(({ status }) => status)),
    attempts: countBy(tasks.flatMap(({ attempts }) => attempts.map(({ status }) => status))),
    events: [...feeds.values()].flat().length,
  }
}

function countBy(values: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const value of values) counts[value] = (counts[value] ?? 0) + 1
  return counts
}

/** Seconds since it was last asked. */
function startStopwatch(): () => number {
  let sinceMs = performance.now()
  return () => {
    const tookMs = performance.now() - sinceMs
    sinceMs += tookMs
    return Math.round(tookMs / 100) / 10
  }
}
