import type { Cluster, Member, Role } from '../../support/cluster.ts'
import type { SeededRandom } from './seeded-random.ts'

/** The place of a process, in which one follows another. */
export type Berth = {
  readonly name: string
  readonly role: Role
  readonly member: Member
  /** A fault is at work on it; others leave it alone. */
  isBusy: boolean
}

/** The processes of both roles, always as many as at the start, but for those that are being replaced. */
export interface Fleet {
  readonly berths: readonly Berth[]
  /** An API to ask: it may be dead or paused, as a client that knows only addresses would find out. */
  anyApi(random: SeededRandom): Member
  /** Ends the process in the berth with the signal, and starts another. */
  replace(berth: Berth, signal: NodeJS.Signals): Promise<void>
  /** Of all processes that there ever were, what they have logged as errors. */
  errors(): string[]
}

const maxStarts = 5

export async function startFleet(
  cluster: Cluster,
  { apis, workers }: Record<'apis' | 'workers', number>,
): Promise<Fleet> {
  const all: Member[] = []
  // As a supervisor does: a process whose servers are away when it starts ends, to be started again.
  async function start(role: Role, triesLeft = maxStarts - 1): Promise<Member> {
    try {
      const member = await cluster.start(role)
      all.push(member)
      return member
    } catch (error) {
      if (triesLeft === 0) throw error
      return start(role, triesLeft - 1)
    }
  }
  async function moor(role: Role, index: number): Promise<Berth> {
    return { name: `${role} ${index + 1}`, role, member: await start(role), isBusy: false }
  }
  const berths = await Promise.all([
    ...Array.from({ length: apis }, (_, index) => moor('api', index)),
    ...Array.from({ length: workers }, (_, index) => moor('worker', index)),
  ])

  return {
    berths,
    anyApi(random) {
      const candidates = berths.filter(({ role }) => role === 'api')
      const chosen = candidates[random.between(0, candidates.length - 1)]
      if (chosen === undefined) throw new Error('there is no API')
      return chosen.member
    },
    async replace(berth, signal) {
      const { member } = berth
      // A graceful end takes its time, and a client is told nothing: the other comes first, as in a rolling restart.
      if (signal === 'SIGKILL') await member.kill(signal)
      const next = await start(berth.role)
      Object.assign(berth, { member: next })
      await member.kill(signal)
    },
    errors: () => all.flatMap((member) => member.output().split('\n').filter(isError)),
  }
}

const isError = (line: string): boolean => line.includes('"level":"error"') || line.includes('"level":"fatal"')
