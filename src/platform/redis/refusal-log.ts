import type { Logger } from '../logger.ts'
import { RedisError } from './redis-errors.ts'

/** Logs that Redis is there and refuses something (no permission, no memory): once, until it worked again. */
export interface RefusalLog {
  /** Looks at any error; that Redis is away is logged by its connections. */
  failed(error: unknown): void
  worked(): void
}

export function createRefusalLog(logger: Logger, message: string): RefusalLog {
  let isLogged = false
  return {
    failed(error) {
      if (isLogged || !(error instanceof RedisError) || !error.isRefusal) return
      isLogged = true
      logger.warn({ reason: error.reason }, message)
    },
    worked() {
      isLogged = false
    },
  }
}
