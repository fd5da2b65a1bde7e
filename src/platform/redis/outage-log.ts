import type { Clock } from '../../lib/clock.ts'
import type { Logger } from '../logger.ts'

/** Logs that Redis is away, and that it is back: once for each outage, however many connections notice it and however often. */
export interface OutageLog {
  /** A connection is not usable. Without a reason it is only remembered: it may be usable again before anybody needs to know. */
  down(connection: string, reason?: string): void
  up(connection: string): void
  /** The connection is given up. */
  forget(connection: string): void
}

export function createOutageLog({ logger, clock }: { logger: Logger; clock: Clock }): OutageLog {
  const away = new Set<string>()
  let sinceMs = 0
  let isLogged = false

  function isOver(connection: string): boolean {
    return away.delete(connection) && away.size === 0
  }

  return {
    down(connection, reason) {
      if (away.size === 0) sinceMs = clock.monotonicMs()
      away.add(connection)
      if (isLogged || reason === undefined) return
      isLogged = true
      logger.warn({ connection, reason }, 'Redis is away; work goes on more slowly')
    },
    up(connection) {
      if (!isOver(connection)) return
      if (isLogged) logger.info({ awayMs: Math.round(clock.monotonicMs() - sinceMs) }, 'Redis is back')
      isLogged = false
    },
    forget(connection) {
      if (isOver(connection)) isLogged = false
    },
  }
}
