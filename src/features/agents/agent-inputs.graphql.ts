import { builder } from '../../graphql/builder.ts'
import { WorkspaceRef } from '../workspaces/workspace.graphql.ts'
import { agentDefaults, agentLimits } from './agent-limits.ts'
import { AgentRef, CrashPolicyRef } from './agent.graphql.ts'

const RetryPolicyInput = builder.inputType('RetryPolicyInput', {
  description: 'How often and when a task is tried again. On update an absent field stays.',
  fields: (t) => ({
    maxAttempts: t.int({
      description: `How often a task is tried in all, 1 to ${agentLimits.maxAttempts.max}; default ${agentDefaults.maxAttempts}.`,
    }),
    initialDelayMs: t.int({
      description: `The longest wait before the second attempt, 0 to ${agentLimits.initialDelayMs.max}; default ${agentDefaults.retryInitialDelayMs}.`,
    }),
    maxDelayMs: t.int({
      description: `The longest wait of all, not less than initialDelayMs, at most ${agentLimits.maxDelayMs.max}; default ${agentDefaults.retryMaxDelayMs}.`,
    }),
  }),
})

const RateLimitInput = builder.inputType('RateLimitInput', {
  description:
    'How much its model calls may be in a minute, all together. On update an absent field stays, null is no limit.',
  fields: (t) => ({
    requestsPerMinute: t.int({ description: `Calls, 1 to ${agentLimits.requestsPerMinute.max}; default: no limit.` }),
    tokensPerMinute: t.int({
      description: `Tokens of input and output, 1 to ${agentLimits.tokensPerMinute.max}; default: no limit.`,
    }),
  }),
})

type InputFields = PothosSchemaTypes.InputFieldBuilder<typeof builder.$inferSchemaTypes, 'InputObject'>

const name = `1 to ${agentLimits.nameLength} characters in one line.`
const instructions = `What every model call begins with, 1 to ${agentLimits.instructionsBytes} bytes.`

/** What createAgent and updateAgent take alike. */
const definitionFields = (t: InputFields) => ({
  description: t.string({ description: `What it is for, at most ${agentLimits.descriptionLength} characters.` }),
  models: t.stringList({
    description: `"provider/model" names or aliases, at most ${agentLimits.models}, tried in this order; none: the server’s default.`,
  }),
  temperature: t.float({ description: '0 to 2; default: the model’s own.' }),
  maxOutputTokens: t.int({ description: 'The longest answer in tokens, 1 to 1 000 000; default: the model’s own.' }),
  outputSchema: t.field({
    type: 'JSON',
    description: `A JSON Schema that answers are held to, at most ${agentLimits.outputSchemaBytes} bytes.`,
  }),
  concurrency: t.int({
    description: `How many of its tasks may run at once, 1 to ${agentLimits.concurrency.max}; default ${agentDefaults.concurrency}.`,
  }),
  rateLimit: t.field({
    type: RateLimitInput,
    description: 'How much its model calls may be in a minute; what is over waits. Null: no limit.',
  }),
  retryPolicy: t.field({ type: RetryPolicyInput, description: 'How often and when its tasks are tried again.' }),
  timeoutMs: t.int({
    description: `How long one attempt may take, ${agentLimits.timeoutMs.min} to ${agentLimits.timeoutMs.max} ms; default ${agentDefaults.timeoutMs}.`,
  }),
  crashPolicy: t.field({
    type: CrashPolicyRef,
    description: `What happens to its tasks when their process dies; default ${agentDefaults.crashPolicy}.`,
  }),
  state: t.field({
    type: 'JSON',
    description: `A JSON object that is kept between runs, at most ${agentLimits.stateBytes} bytes; default {}.`,
  }),
})

export const CreateAgentInput = builder.inputType('CreateAgentInput', {
  description: 'A new agent.',
  fields: (t) => ({
    workspaceId: t.globalID({ for: WorkspaceRef, description: 'Where; default: the viewer’s personal workspace.' }),
    name: t.string({ required: true, description: `Its name: ${name}` }),
    instructions: t.string({ required: true, description: instructions }),
    ...definitionFields(t),
  }),
})

export const UpdateAgentInput = builder.inputType('UpdateAgentInput', {
  description: 'A change of an agent: an absent field stays, null clears what can be without a value.',
  fields: (t) => ({
    id: t.globalID({ for: AgentRef, required: true, description: 'Which agent.' }),
    expectedVersion: t.int({
      description: 'Change it only if this is still its version; otherwise the answer is CONFLICT.',
    }),
    name: t.string({ description: `Its name: ${name}` }),
    instructions: t.string({ description: instructions }),
    ...definitionFields(t),
  }),
})

export const AgentInput = builder.inputType('AgentInput', {
  description: 'An agent.',
  fields: (t) => ({ id: t.globalID({ for: AgentRef, required: true, description: 'Which agent.' }) }),
})
