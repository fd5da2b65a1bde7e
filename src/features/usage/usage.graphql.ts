import { builder } from '../../graphql/builder.ts'
import type { UsageTotals } from './usage.ts'

/** What model calls have used: of a task, an attempt, an agent, a workspace's day, a completion. */
export const UsageRef = builder.objectRef<UsageTotals>('Usage').implement({
  description: 'What model calls have used, failed and aborted ones included: they are paid for too.',
  fields: (t) => ({
    inputTokens: t.expose('inputTokens', { type: 'SafeInt', description: 'Tokens of the prompts.' }),
    cachedInputTokens: t.expose('cachedInputTokens', {
      type: 'SafeInt',
      description: 'The part of the input that came from the provider’s cache.',
    }),
    outputTokens: t.expose('outputTokens', { type: 'SafeInt', description: 'Tokens of the answers.' }),
    reasoningTokens: t.expose('reasoningTokens', {
      type: 'SafeInt',
      description: 'The part of the output that the models thought and did not say.',
    }),
    totalTokens: t.expose('totalTokens', { type: 'SafeInt', description: 'Input and output together.' }),
    estimated: t.exposeBoolean('estimated', {
      description: 'Whether a part is an estimate of ours, because a provider gave no figures.',
    }),
    costUsd: t.exposeFloat('costUsd', {
      nullable: true,
      description: 'What it cost in US dollars; null when the price of any of the calls is not known.',
    }),
    savedUsd: t.exposeFloat('savedUsd', { description: 'What the response cache has saved, in US dollars.' }),
  }),
})
