import type { Viewer } from '../features/accounts/viewer.ts'
import { AppError, RateLimitedError } from '../lib/errors.ts'
import { isLoopback, networkOf } from '../lib/network.ts'
import type { ThrottleWindow, Throttles } from '../platform/throttle/throttles.ts'
import type { Client } from './context.ts'

/** Who asks, as far as limits are concerned: a user, or whoever is behind an address. */
export type Asker = { viewer: Viewer | null; client: Pick<Client, 'ip'> }

/** How much one asks for within a minute. */
export interface Admission {
  /** Counts one request. Throws RateLimitedError. */
  request(asker: Asker): Promise<void>
  /** Pays for an operation of this cost. Throws AppError when it costs too much in itself, RateLimitedError when too much came together. */
  cost(asker: Asker, cost: number): Promise<CostReport>
}

/** Shown as `extensions.cost`. */
export type CostReport = {
  /** What this operation was counted as. */
  requested: number
  /** What one operation may cost. */
  maximum: number
  /** What is left of this minute; not for addresses that are not limited. */
  remaining?: number
  /** Until the minute ends. */
  resetMs?: number
}

export type AdmissionOptions = {
  /** Of one user. */
  requestsPerMinute: number
  /** Of one address (IPv6: one /64) without credentials, or with wrong ones. */
  anonymousRequestsPerMinute: number
  /** Of one user; of one address without credentials. */
  costPerMinute: number
  /** Of one operation. */
  complexity: number
  /** Outside production this machine's own addresses are not limited; users are. */
  exemptsLoopback: boolean
}

export function createAdmission(throttles: Throttles, options: AdmissionOptions): Admission {
  const minute = { windowSeconds: 60 }
  const users = throttles.window({ name: 'requests-user', points: options.requestsPerMinute, ...minute })
  const addresses = throttles.window({
    name: 'requests-address',
    points: options.anonymousRequestsPerMinute,
    ...minute,
  })
  const costs = throttles.window({ name: 'cost', points: options.costPerMinute, ...minute })

  const isExempt = ({ viewer, client }: Asker): boolean =>
    viewer === null && options.exemptsLoopback && isLoopback(client.ip)

  return {
    async request(asker) {
      if (isExempt(asker)) return
      const limit: ThrottleWindow = asker.viewer === null ? addresses : users
      const { isAllowed, resetMs } = await limit.take(keyOf(asker))
      if (!isAllowed) throw new RateLimitedError('Too many requests.', resetMs)
    },
    async cost(asker, requested) {
      const maximum = options.complexity
      if (requested > maximum) throw tooCostly(requested, maximum)
      if (isExempt(asker)) return { requested, maximum }
      const { isAllowed, remaining, resetMs } = await costs.take(keyOf(asker), requested)
      if (isAllowed) return { requested, maximum, remaining, resetMs }
      throw new RateLimitedError('Your operations cost too much together.', resetMs, {
        details: { cost: requested, maximumPerMinute: options.costPerMinute },
      })
    },
  }
}

function keyOf({ viewer, client }: Asker): string {
  return viewer === null ? `address:${networkOf(client.ip)}` : `user:${viewer.userId}`
}

function tooCostly(found: number, maximum: number): AppError {
  return new AppError('GRAPHQL_VALIDATION_FAILED', `The operation costs ${found}; one may cost at most ${maximum}.`, {
    details: { limit: 'complexity', maximum, found },
    suggestions: [
      'Ask for smaller pages (`first`): what is below a list is paid for each of its items.',
      'Ask for fewer fields, or in several requests.',
    ],
  })
}
