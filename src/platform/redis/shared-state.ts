import type { Clock } from '../../lib/clock.ts'
import { RedisError } from './redis-errors.ts'
import type { RefusalLog } from './refusal-log.ts'

/**
 * Decides, question by question, whether Redis is asked or this process answers by itself. What is shared over Redis is worth a short wait and
 * never an error: a question that Redis does not answer in time is answered here, and so are those of the next second.
 */
export interface SharedState {
  /** What `shared` says; what `local` says when Redis is away, refuses or is slow. */
  ask<T>(shared: () => Promise<T>, local: () => Promise<T>): Promise<T>
}

export type SharedStateOptions = {
  clock: Clock
  refusals: RefusalLog
  /** How long a question may wait for Redis, in milliseconds. Default 250. */
  limitMs?: number
  /** For how long Redis is not asked after it has not answered, in milliseconds. Default 1 000. */
  restMs?: number
}

const late = Symbol('late')

export function createSharedState({ clock, refusals, limitMs = 250, restMs = 1_000 }: SharedStateOptions): SharedState {
  let restsUntilMs = -Infinity

  return {
    async ask(shared, local) {
      if (clock.monotonicMs() < restsUntilMs) return local()
      let timer: NodeJS.Timeout | undefined
      const timeUp = new Promise<typeof late>((resolve) => {
        timer = setTimeout(() => resolve(late), limitMs)
      })
      const asked = shared()
      try {
        const answer = await Promise.race([asked, timeUp])
        if (answer !== late) {
          refusals.worked()
          return answer
        }
      } catch (error) {
        if (!(error instanceof RedisError)) throw error
        refusals.failed(error)
      } finally {
        clearTimeout(timer)
      }
      // It may still fail, and then nobody listens any more.
      asked.catch((error: unknown) => refusals.failed(error))
      restsUntilMs = clock.monotonicMs() + restMs
      return local()
    },
  }
}
