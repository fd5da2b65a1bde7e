import { z } from 'zod'
import { integerIn, withDefault } from '../../lib/input-numbers.ts'
import { agentLimits } from './agent-limits.ts'

const requestsPerMinute = integerIn(agentLimits.requestsPerMinute).nullable()
const tokensPerMinute = integerIn(agentLimits.tokensPerMinute).nullable()

export const noRateLimit = { requestsPerMinute: null, tokensPerMinute: null }

/** The limit of a new agent: what is not given is not limited. */
export const newRateLimit = z.object(
  { requestsPerMinute: withDefault(requestsPerMinute, null), tokensPerMinute: withDefault(tokensPerMinute, null) },
  'must be an object',
)

/** A change of a limit: what is absent stays, null is no limit; null for the whole is none at all. */
export const changedRateLimit = z
  .object(
    { requestsPerMinute: requestsPerMinute.optional(), tokensPerMinute: tokensPerMinute.optional() },
    'must be an object',
  )
  .nullable()
  .transform((limit) => limit ?? noRateLimit)
