import { z } from 'zod'
import type { Clock } from '../../lib/clock.ts'
import type { NewId } from '../../lib/ids.ts'
import type { Logger } from '../logger.ts'
import type { RedisServer } from '../redis/redis.ts'
import { createRefusalLog } from '../redis/refusal-log.ts'
import { createSharedState } from '../redis/shared-state.ts'
import {
  defaultBreakerRules,
  probePollMs,
  rememberedMs,
  windowSlots,
  type BreakerAdmission,
  type BreakerRules,
  type BreakerStatus,
  type CircuitBreakers,
} from './circuit-breaker.ts'
import { createInProcessCircuitBreakers } from './in-process.ts'
import { admitScript, inspectScript, settleScript } from './redis-scripts.ts'

const admission = z.union([
  z.tuple([z.literal(1), z.number(), z.number()]),
  z.tuple([z.literal(0), z.enum(['OPEN', 'PROBING', 'COOLING_DOWN']), z.string(), z.number()]),
])
const statuses = z.array(z.tuple([z.enum(['CLOSED', 'OPEN', 'PROBING', 'COOLING_DOWN']), z.string(), z.number()]))

export type RedisCircuitBreakersOptions = {
  redis: RedisServer
  clock: Clock
  newId: NewId
  logger: Logger
  rules?: BreakerRules
}

/** Shared by all processes, by the clock of Redis. While Redis is away each process has breakers of its own, closed at first. */
export function createRedisCircuitBreakers(options: RedisCircuitBreakersOptions): CircuitBreakers {
  const { redis, clock, newId, logger, rules = defaultBreakerRules } = options
  const connection = redis.connect('requests', 'circuit-breakers')
  const refusals = createRefusalLog(logger, 'Redis refuses circuit breakers; each process has its own')
  const state = createSharedState({ clock, refusals })
  const local = createInProcessCircuitBreakers({ clock, newId, rules })
  const keyOf = (key: string): string => `${redis.keyPrefix}:breaker:${key}`
  const { windowMs, minCalls, failureRate, consecutiveFailures, openMs, maxOpenMs, successesToClose } = rules
  const ruleArgs = [
    windowMs,
    windowSlots,
    minCalls,
    failureRate,
    consecutiveFailures,
    openMs,
    maxOpenMs,
    successesToClose,
    rememberedMs,
  ]

  async function admitShared(key: string): Promise<BreakerAdmission> {
    const probe = newId()
    const args = [probe, rules.probeLeaseMs, probePollMs, rememberedMs]
    const reply = admission.parse(await admitScript.run(connection, [keyOf(key)], args))
    if (reply[0] === 1) {
      return {
        kind: 'admitted',
        ticket: { generation: reply[1], probe: reply[2] === 1 ? probe : null, isShared: true },
      }
    }
    return { kind: 'refused', state: reply[1], reason: reply[2], retryAfterMs: Math.max(1, reply[3]) }
  }

  async function inspectShared(keys: readonly string[]): Promise<readonly BreakerStatus[]> {
    const found = statuses.parse(await inspectScript.run(connection, keys.map(keyOf), []))
    return found.map(([breakerState, reason, ms]) => ({
      state: breakerState,
      reason: breakerState === 'CLOSED' ? null : reason,
      availableInMs: breakerState === 'OPEN' || breakerState === 'COOLING_DOWN' ? ms : null,
    }))
  }

  return {
    admit: (key) =>
      state.ask(
        () => admitShared(key),
        () => local.admit(key),
      ),
    async settle(key, ticket, verdict) {
      // What this process admitted by itself says nothing of what the shared breaker has counted.
      if (!ticket.isShared) return local.settle(key, ticket, verdict)
      const { result, reason, coolDownMs } = verdict
      const args = [ticket.generation, ticket.probe ?? '', result, reason, Math.ceil(coolDownMs), ...ruleArgs]
      return state.ask(
        async () => (await settleScript.run(connection, [keyOf(key)], args)) === 1,
        // Generations of the two do not match, but a failure that opened nothing there shall count here.
        () => local.settle(key, { generation: 0, probe: null, isShared: false }, verdict),
      )
    },
    inspect: (keys) =>
      keys.length === 0
        ? Promise.resolve([])
        : state.ask(
            () => inspectShared(keys),
            () => local.inspect(keys),
          ),
    async close() {
      await Promise.all([connection.close(), local.close()])
    },
  }
}
