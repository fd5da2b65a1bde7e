import type { Reader } from '../../support/task-reader.ts'
import type { FeedReader } from './feed-reader.ts'
import type { Fleet } from './fleet.ts'
import { followFeed, followTask, type FollowerOptions } from './followers.ts'
import type { Scene } from './scene.ts'
import type { SeededRandom } from './seeded-random.ts'
import type { Session } from './session.ts'
import { submitForAWhile, type Accepted } from './submitters.ts'

/** Everybody who uses the API while things go wrong. */
export interface Clients {
  /** What the API has accepted so far. */
  readonly accepted: readonly Accepted[]
  /** Resolves when nothing more is submitted. */
  stopSubmitting(): Promise<void>
  /** Lets the followers come to the end of what there is: so many events in the feed. */
  finishReading(eventCount: number): Promise<{ readers: readonly Reader[]; feeds: readonly FeedReader[] }>
  /** Sends everybody away who is still there. */
  giveUp(): void
}

export type ClientsOptions = {
  fleet: Fleet
  session: Session
  scene: Scene
  random: SeededRandom
  onProblem: (problem: string) => void
}

const submitterCount = 8
const submissionGapMs = 1_000
/** One task of so many is followed. */
const tasksPerFollower = 3
const readLimitMs = 90_000

export function startClients({ fleet, session, scene, random, onProblem }: ClientsOptions): Clients {
  const stop = new AbortController()
  const wake = new AbortController()
  const leave = new AbortController()
  const accepted: Accepted[] = []
  const readers: Promise<Reader>[] = []
  let expectedEvents = Infinity

  const follower = (name: string): FollowerOptions => ({
    fleet,
    session,
    random: random.branch(`follower ${name}`),
    signal: leave.signal,
    wake: wake.signal,
    onProblem,
  })
  const from = { workspaceId: scene.workspaceId, cursor: scene.feedCursor }
  const feeds = ['first', 'second'].map((name) =>
    followFeed(from, ({ events }) => events.length >= expectedEvents, follower(name)),
  )
  const submitters = Array.from({ length: submitterCount }, (_, index) =>
    submitForAWhile({
      name: `client-${index + 1}`,
      session,
      agentIds: scene.agentIds,
      random: random.branch(`submitter ${index}`),
      signal: stop.signal,
      gapMs: submissionGapMs,
      onAccepted(task) {
        accepted.push(task)
        if (accepted.length % tasksPerFollower === 0) readers.push(followTask(task.id, follower(task.label)))
      },
      onProblem,
    }).catch((error: unknown) => onProblem(`a client has given up: ${String(error)}`)),
  )

  return {
    accepted,
    async stopSubmitting() {
      stop.abort()
      await Promise.all(submitters)
    },
    async finishReading(eventCount) {
      expectedEvents = eventCount
      const timer = setTimeout(() => leave.abort(), readLimitMs)
      // The feed is silent, and a silent reader does not notice that it has enough.
      wake.abort()
      const read = { readers: await Promise.all(readers), feeds: await Promise.all(feeds) }
      clearTimeout(timer)
      return read
    },
    giveUp() {
      stop.abort()
      leave.abort()
    },
  }
}
