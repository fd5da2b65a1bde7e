import { z } from 'zod'
import { integerIn, withDefault } from '../../lib/input-numbers.ts'
import { agentDefaults, agentLimits } from './agent-limits.ts'

const attempts = integerIn(agentLimits.maxAttempts)
const initialDelay = integerIn(agentLimits.initialDelayMs)
const maxDelay = integerIn(agentLimits.maxDelayMs)

/** The one problem of a policy that lies between two of its fields. */
export const delaysOutOfOrder = {
  path: ['maxDelayMs'],
  message: `must not be less than initialDelayMs (the defaults are ${agentDefaults.retryMaxDelayMs} and ${agentDefaults.retryInitialDelayMs})`,
}

/** The policy of a new agent: what is not given is the default. */
export const newRetryPolicy = z
  .object(
    {
      maxAttempts: withDefault(attempts, agentDefaults.maxAttempts),
      initialDelayMs: withDefault(initialDelay, agentDefaults.retryInitialDelayMs),
      maxDelayMs: withDefault(maxDelay, agentDefaults.retryMaxDelayMs),
    },
    'must be an object',
  )
  .refine((policy) => policy.maxDelayMs >= policy.initialDelayMs, delaysOutOfOrder)

/** A change of a policy: what is absent stays. Whether one delay fits the other that stays is known only to the row. */
export const changedRetryPolicy = z
  .object(
    { maxAttempts: attempts.optional(), initialDelayMs: initialDelay.optional(), maxDelayMs: maxDelay.optional() },
    'must be an object',
  )
  .refine(({ initialDelayMs = 0, maxDelayMs = Infinity }) => maxDelayMs >= initialDelayMs, delaysOutOfOrder)
