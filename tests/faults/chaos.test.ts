import { randomInt } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { findClusterPrograms, startCluster } from '../support/cluster.ts'
import { rowId } from '../support/first-task.ts'
import type { Reader } from '../support/task-reader.ts'
import { auditAtRest, type Audit } from './audit.ts'
import { auditAgainstUpstream } from './chaos/audit-upstream.ts'
import { performFaults, planFaults } from './chaos/faults.ts'
import { startFleet } from './chaos/fleet.ts'
import { followFeed, followTask, type FollowerOptions } from './chaos/followers.ts'
import { createSeededRandom } from './chaos/seeded-random.ts'
import { openSession, type Session } from './chaos/session.ts'
import { submitForAWhile, type Accepted } from './chaos/submitters.ts'
import { startUpstream } from './chaos/upstream.ts'

const programs = findClusterPrograms()
const seed = Number(process.env['CHAOS_SEED'] ?? randomInt(2 ** 31))
const seconds = Number(process.env['CHAOS_SECONDS'] ?? 25)
const isLong = seconds > 60
/** Short, so that many leases end while it lasts. */
const leaseMs = 4_000
/** For what must come in the end, on a machine that is slow and busy. */
const patienceMs = 180_000

const size = { apis: 2, workers: isLong ? 3 : 2, submitters: 8, submissionGapMs: 1_000 }

describe.skipIf(programs === null)('processes and servers that fail all the time', () => {
  test(
    `nothing is lost, nothing comes twice (CHAOS_SEED=${seed} CHAOS_SECONDS=${seconds})`,
    async () => {
      const { problems, figures } = await cause()
      console.log(`chaos: ${JSON.stringify({ seed, seconds, ...figures })}`)
      expect(problems.slice(0, 30)).toEqual([])
    },
    (seconds * 1_000 + patienceMs) * 2,
  )
})

type Outcome = { problems: string[]; figures: Record<string, unknown> }

async function cause(): Promise<Outcome> {
  if (programs === null) throw new Error('the suite is skipped without its programs')
  const startedMs = performance.now()
  const secondsSince = (sinceMs: number): number => Math.round((performance.now() - sinceMs) / 100) / 10
  const random = createSeededRandom(seed)
  const problems: string[] = []
  const onProblem = (problem: string): void => void problems.push(problem)
  await using upstream = await startUpstream(random.branch('upstream'))
  await using cluster = await startCluster(programs, {
    apis: 0,
    workers: 0,
    env: {
      OPENAI_API_KEY: 'none',
      OPENAI_BASE_URL: upstream.baseUrl,
      AI_DEFAULT_MODELS: 'openai/test-model',
      LEASE_MS: String(leaseMs),
      SHUTDOWN_GRACE_MS: '1000',
      LOG_LEVEL: 'info',
    },
  })
  const fleet = await startFleet(cluster, size)
  const session = await openSession({ fleet, random: random.branch('session'), patienceMs })
  const { agentIds, workspaceId, feedCursor } = await setUp(session)

  const secondsToStart = secondsSince(startedMs)
  const stop = new AbortController()
  const giveUp = new AbortController()
  const follower = (name: string): FollowerOptions => ({
    fleet,
    session,
    random: random.branch(`follower ${name}`),
    signal: giveUp.signal,
    onProblem,
  })
  const accepted: Accepted[] = []
  const readers: Promise<Reader>[] = []
  let eventCount = Infinity
  const feeds = ['first', 'second'].map((name) =>
    followFeed({ workspaceId, cursor: feedCursor }, ({ events }) => events.length >= eventCount, follower(name)),
  )
  const submitters = Array.from({ length: size.submitters }, (_, index) =>
    submitForAWhile({
      name: `client-${index + 1}`,
      session,
      agentIds,
      random: random.branch(`submitter ${index}`),
      signal: stop.signal,
      gapMs: size.submissionGapMs,
      maxTasksPerGraph: 1,
      onAccepted(task) {
        accepted.push(task)
        if (accepted.length % 3 === 0) readers.push(followTask(task.id, follower(task.label)))
      },
      onProblem,
    }).catch((error: unknown) => onProblem(`a client has given up: ${String(error)}`)),
  )

  const plan = planFaults({ random: random.branch('faults'), durationMs: seconds * 1_000, leaseMs })
  const faults = await performFaults(plan, { cluster, fleet, signal: giveUp.signal })
  stop.abort()
  await Promise.all(submitters)

  const secondsOfFaults = secondsSince(startedMs) - secondsToStart
  const calmAtMs = performance.now()
  const audit = await auditAtRest(cluster.databaseUrl, patienceMs)
  const secondsToRest = secondsSince(calmAtMs)
  eventCount = audit.feeds.get(rowId(workspaceId))?.length ?? 0
  const timer = setTimeout(() => giveUp.abort(), 60_000)
  const read = await Promise.all(readers)
  const feedsRead = await Promise.all(feeds)
  clearTimeout(timer)

  problems.push(...audit.problems, ...auditAgainstUpstream(audit.tasks, accepted, upstream.calls))
  problems.push(...readerProblems(read, audit))
  const feed = audit.feeds.get(rowId(workspaceId)) ?? []
  const rows = feed.map(({ taskId, version, status }) => `${taskId}:${version}:${status}`)
  for (const { events } of feedsRead)
    if (events.join('\n') !== rows.join('\n'))
      onProblem(`a follower of the feed has other events than the rows: ${firstDifference(events, rows)}`)
  problems.push(...fleet.errors().map((line) => `a process has logged an error: ${line}`))
  return {
    problems,
    figures: {
      tasks: countBy(audit.tasks.map(({ status }) => status)),
      attempts: countBy(audit.tasks.flatMap(({ attempts }) => attempts.map(({ status }) => status))),
      events: rows.length,
      upstreamCalls: upstream.calls.length,
      streamsFollowed: read.length,
      faults: Object.fromEntries(faults.done),
      faultsSkipped: faults.skipped,
      secondsToStart,
      secondsOfFaults,
      secondsToRest,
      secondsToRead: secondsSince(calmAtMs) - secondsToRest,
    },
  }
}

type Scene = { agentIds: [string, ...string[]]; workspaceId: string; feedCursor: string }

async function setUp(session: Session): Promise<Scene> {
  const createAgent = async (input: Record<string, unknown>): Promise<string> => {
    const { createAgent: payload } = await session.ask<{ createAgent: { agent: { id: string } } }>(
      'mutation ($input: CreateAgentInput!) { createAgent(input: $input) { agent { id } } }',
      {
        input: {
          instructions: 'Write.',
          retryPolicy: { maxAttempts: 20, initialDelayMs: 50, maxDelayMs: 1_000 },
          ...input,
        },
      },
    )
    return payload.agent.id
  }
  const { workspace } = await session.ask<{ workspace: { id: string; feedCursor: string } }>(
    '{ workspace { id feedCursor } }',
    {},
  )
  const wide = await createAgent({ name: 'Wide', concurrency: 40 })
  const narrow = await createAgent({ name: 'Narrow', concurrency: 6 })
  const once = await createAgent({ name: 'Fails with its worker', concurrency: 10, crashPolicy: 'FAIL' })
  return {
    agentIds: [wide, wide, wide, wide, narrow, once],
    workspaceId: workspace.id,
    feedCursor: workspace.feedCursor,
  }
}

function readerProblems(readers: readonly Reader[], { tasks }: Audit): string[] {
  const byId = new Map(tasks.map((task) => [task.id, task]))
  return readers.flatMap((reader) => {
    const task = byId.get(rowId(reader.taskId))
    if (task === undefined) return [`the stream of ${reader.taskId} was followed, and there is no such task`]
    const isSame = reader.version === task.version && reader.text === (task.output ?? '')
    return isSame
      ? []
      : [
          `a follower of ${task.name} (${task.id}) has ${JSON.stringify({ version: reader.version, text: reader.text })}, the row ${JSON.stringify({ version: task.version, output: task.output })}`,
        ]
  })
}

function firstDifference(events: readonly string[], rows: readonly string[]): string {
  const index = rows.findIndex((row, at) => events[at] !== row)
  return `${events.length} of ${rows.length}; at ${index} ${events[index] ?? 'nothing'} for ${rows[index] ?? 'nothing'}`
}

function countBy(values: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const value of values) counts[value] = (counts[value] ?? 0) + 1
  return counts
}
