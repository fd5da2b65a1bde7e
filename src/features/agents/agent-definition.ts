import { z } from 'zod'
import { integerIn, withDefault } from '../../lib/input-numbers.ts'
import { jsonObject, longText, nameText, shortText } from '../../lib/stored-text.ts'
import { agentDefaults, agentLimits } from './agent-limits.ts'
import { createModelParameters, type DefinitionChecks } from './model-parameters.ts'
import { changedRateLimit, newRateLimit, noRateLimit } from './rate-limit.ts'
import { changedRetryPolicy, newRetryPolicy } from './retry-policy.ts'

type Given<T> = T | null | undefined

/** What a caller may say about an agent. On create null means the default; on update an absent field stays and null clears. */
export type AgentFields = {
  name?: Given<string>
  description?: Given<string>
  instructions?: Given<string>
  models?: Given<readonly string[]>
  temperature?: Given<number>
  maxOutputTokens?: Given<number>
  outputSchema?: unknown
  concurrency?: Given<number>
  retryPolicy?: Given<{ maxAttempts?: Given<number>; initialDelayMs?: Given<number>; maxDelayMs?: Given<number> }>
  rateLimit?: Given<{ requestsPerMinute?: Given<number>; tokensPerMinute?: Given<number> }>
  timeoutMs?: Given<number>
  crashPolicy?: Given<'RETRY' | 'FAIL'>
  state?: unknown
}

export type AgentSchemas = ReturnType<typeof createAgentSchemas>
export type AgentChanges = z.output<AgentSchemas['update']>

const defaultRetryPolicy = {
  maxAttempts: agentDefaults.maxAttempts,
  initialDelayMs: agentDefaults.retryInitialDelayMs,
  maxDelayMs: agentDefaults.retryMaxDelayMs,
}

/** The schemas of what a caller may say: `create` fills in the defaults, `update` keeps what is absent. */
export function createAgentSchemas(checks: DefinitionChecks) {
  const { models, temperature, maxOutputTokens, outputSchema } = createModelParameters(checks)
  const name = nameText(agentLimits.nameLength)
  const instructions = longText(agentLimits.instructionsBytes)
  const concurrency = integerIn(agentLimits.concurrency)
  const timeoutMs = integerIn(agentLimits.timeoutMs)
  const crashPolicy = z.enum(['RETRY', 'FAIL'], 'must be RETRY or FAIL')
  const state = jsonObject(agentLimits.stateBytes)
  const description = shortText(agentLimits.descriptionLength)
  return {
    create: z.object({
      name,
      description: withDefault(description.nullable(), null),
      instructions,
      temperature: withDefault(temperature.nullable(), null),
      maxOutputTokens: withDefault(maxOutputTokens.nullable(), null),
      outputSchema: withDefault(outputSchema.nullable(), null),
      models: withDefault(models, []),
      concurrency: withDefault(concurrency, agentDefaults.concurrency),
      retryPolicy: withDefault(newRetryPolicy, defaultRetryPolicy),
      rateLimit: withDefault(newRateLimit, noRateLimit),
      timeoutMs: withDefault(timeoutMs, agentDefaults.timeoutMs),
      crashPolicy: withDefault(crashPolicy, agentDefaults.crashPolicy),
      state: withDefault(state, {}),
    }),
    update: z.object({
      name: name.optional(),
      description: description.nullish(),
      instructions: instructions.optional(),
      temperature: temperature.nullish(),
      maxOutputTokens: maxOutputTokens.nullish(),
      outputSchema: outputSchema.nullish(),
      models: models.optional(),
      concurrency: concurrency.optional(),
      retryPolicy: changedRetryPolicy.optional(),
      rateLimit: changedRateLimit.optional(),
      timeoutMs: timeoutMs.optional(),
      crashPolicy: crashPolicy.optional(),
      state: state.optional(),
    }),
  }
}
