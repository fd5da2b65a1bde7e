import type { TokenUsage } from '../../ai/model-call.ts'
import { builder } from '../../graphql/builder.ts'
import { requireViewer } from '../accounts/viewer.ts'
import { ModelAttemptRef } from '../usage/model-attempt.graphql.ts'
import { UsageRef } from '../usage/usage.graphql.ts'
import { noUsage, type UsageTotals } from '../usage/usage.ts'
import { WorkspaceRef } from '../workspaces/workspace.graphql.ts'
import { encodeCompletionCursor } from './completion-cursor.ts'
import type { Completion, CompletionItem } from './completions.ts'

type Item<Type extends CompletionItem['type']> = Extract<CompletionItem, { type: Type }>

const MessageRole = builder.enumType('MessageRole', {
  description: 'Who said something in a conversation.',
  values: {
    SYSTEM: { description: 'Instructions for the model.' },
    USER: { description: 'The one who asks.' },
    ASSISTANT: { description: 'The model.' },
  },
})

const InterruptPolicy = builder.enumType('InterruptPolicy', {
  description: 'What happens when an answer breaks off after its first text.',
  values: {
    RESTART: { description: 'The text is dropped (`CompletionReset`) and the next model answers from the start.' },
    ERROR: { description: 'It fails, with the text so far.' },
  },
})

const MessageInput = builder.inputType('MessageInput', {
  description: 'One message of a conversation.',
  fields: (t) => ({
    role: t.field({ type: MessageRole, required: true, description: 'Who said it.' }),
    content: t.string({ required: true, description: 'What was said.' }),
  }),
})

const CompletionInput = builder.inputType('CompletionInput', {
  description: 'What to ask a model, without an agent.',
  fields: (t) => ({
    workspaceId: t.globalID({ for: WorkspaceRef, description: 'Who pays; default: your personal workspace.' }),
    prompt: t.string({
      description: 'The question, after `messages`; 1 byte to 256 KiB with all of them. One of the two must be given.',
    }),
    messages: t.field({
      type: [MessageInput],
      description: 'The conversation so far, at most 200 messages.',
    }),
    models: t.stringList({
      description: 'At most 8 "provider/model" names or aliases, tried in this order; default: the server’s.',
    }),
    temperature: t.float({ description: '0 to 2; default: the provider’s.' }),
    maxOutputTokens: t.int({ description: 'The longest answer, 1 to 1 000 000 tokens; default: the provider’s.' }),
    outputSchema: t.field({ type: 'JSON', description: 'A JSON Schema that the answer must be valid for.' }),
    onInterrupt: t.field({
      type: InterruptPolicy,
      defaultValue: 'RESTART',
      description: 'What happens when an answer breaks off after its first text.',
    }),
  }),
})

const CompletionRef = builder.objectRef<Completion>('Completion').implement({
  description: 'A whole answer.',
  fields: (t) => ({
    id: t.exposeID('id', { description: 'Names the completion in the ledger; not a global id.' }),
    text: t.string({ description: 'Exactly what one model sent.', resolve: ({ answer }) => answer.text }),
    json: t.field({
      type: 'JSON',
      nullable: true,
      description: 'The value that the text is, when an `outputSchema` was given.',
      resolve: ({ answer }) => answer.json,
    }),
    model: t.string({ description: 'Who answered: "provider/model".', resolve: ({ answer }) => answer.model }),
    finishReason: t.string({
      description: 'Why the answer ended, as the provider spells it; `length`: it was cut at the maximum.',
      resolve: ({ answer }) => answer.finishReason,
    }),
    usage: t.field({
      type: UsageRef,
      description: 'What the answer used; what failed calls used is in `attempts` and in the workspace’s usage.',
      resolve: ({ answer }) => totalsOf(answer.usage),
    }),
    cached: t.boolean({ description: 'Whether it came from the response cache.', resolve: () => false }),
    latencyMs: t.float({
      description: 'From the question to the end of the answer, in milliseconds.',
      resolve: ({ answer }) => answer.latencyMs,
    }),
    timeToFirstTokenMs: t.float({
      nullable: true,
      description: 'From the question to the first text, in milliseconds; null for an empty answer.',
      resolve: ({ answer }) => answer.timeToFirstTokenMs,
    }),
    attempts: t.field({
      type: [ModelAttemptRef],
      description: 'Every call upstream, the successful one last.',
      resolve: ({ answer }) => [...answer.attempts],
    }),
  }),
})

const CompletionStarted = builder.objectRef<Item<'started'>>('CompletionStarted').implement({
  description: 'A model begins to answer.',
  fields: (t) => ({
    completionId: t.exposeID('completionId', { description: 'The completion’s id.' }),
    model: t.exposeString('model', { description: 'Who answers.' }),
    cached: t.boolean({ description: 'Whether the answer comes from the response cache.', resolve: () => false }),
  }),
})

const CompletionDelta = builder.objectRef<Item<'delta'>>('CompletionDelta').implement({
  description: 'The next piece of the answer.',
  fields: (t) => ({
    cursor: t.string({
      description: 'Where this piece ends.',
      resolve: ({ completionId, segment, offset, text }) =>
        encodeCompletionCursor(completionId, segment, offset + text.length),
    }),
    offset: t.exposeInt('offset', { description: 'How much text comes before it, in UTF-16 units.' }),
    text: t.exposeString('text', { description: 'The text.' }),
  }),
})

const CompletionReset = builder.objectRef<Item<'reset'>>('CompletionReset').implement({
  description: 'Drop the text so far: another model run begins from the start.',
  fields: (t) => ({
    model: t.exposeString('model', { description: 'Who answers now.' }),
    reason: t.exposeString('reason', { description: 'Why what came before is void.' }),
  }),
})

const CompletionFinished = builder.objectRef<Item<'finished'>>('CompletionFinished').implement({
  description: 'The answer is whole; the last event.',
  fields: (t) => ({
    completion: t.expose('completion', { type: CompletionRef, description: 'The answer.' }),
  }),
})

const CompletionFailed = builder.objectRef<Item<'failed'>>('CompletionFailed').implement({
  description: 'No model gave an answer; the last event.',
  fields: (t) => ({
    code: t.string({ description: 'What went wrong.', resolve: ({ error }) => error.kind.toUpperCase() }),
    message: t.string({ description: 'What went wrong, in words.', resolve: ({ error }) => error.message }),
    retryAfterMs: t.int({
      nullable: true,
      description: 'How long the provider wants to be left alone, in milliseconds.',
      resolve: ({ error }) => wholeMs(error.retryAfterMs),
    }),
    partialText: t.string({
      description: 'The text that came before it broke.',
      resolve: ({ error }) => error.partialText,
    }),
    attempts: t.field({
      type: [ModelAttemptRef],
      description: 'Every call upstream.',
      resolve: ({ error }) => [...error.attempts],
    }),
  }),
})

const eventTypes = {
  started: CompletionStarted,
  delta: CompletionDelta,
  reset: CompletionReset,
  finished: CompletionFinished,
  failed: CompletionFailed,
} as const

const CompletionEvent = builder.unionType('CompletionEvent', {
  description: 'What happens while an answer is streamed: started, then deltas and resets, then finished or failed.',
  types: Object.values(eventTypes),
  resolveType: ({ type }) => eventTypes[type],
})

builder.mutationField('complete', (t) =>
  t.field({
    type: CompletionRef,
    description: 'Asks a model and waits for the whole answer.',
    args: { input: t.arg({ type: CompletionInput, required: true, description: 'What to ask.' }) },
    resolve: (_root, { input }, { viewer, services, signal }) =>
      services.completions.complete(requireViewer(viewer), withRowId(input), signal),
  }),
)

builder.subscriptionField('completion', (t) =>
  t.field({
    type: CompletionEvent,
    description: 'Asks a model and streams the answer. Leaving aborts the call.',
    args: { input: t.arg({ type: CompletionInput, required: true, description: 'What to ask.' }) },
    subscribe: async (_root, { input }, context) => {
      const viewer = requireViewer(context.viewer)
      const { completions, liveAccess, workspaces } = context.services
      const workspaceId = input.workspaceId?.id ?? (await workspaces.access.personalWorkspaceId(viewer))
      return liveAccess.guard({ viewer, workspaceId, role: 'MEMBER' }, () =>
        completions.stream(viewer, { ...input, workspaceId }),
      )
    },
    resolve: (item) => item,
  }),
)

/** Providers write fractions, and dates that are centuries away. */
function wholeMs(ms: number | null): number | null {
  return ms === null ? null : Math.min(Math.ceil(ms), 0x7fff_ffff)
}

function withRowId({ workspaceId, ...input }: typeof CompletionInput.$inferInput) {
  return { ...input, workspaceId: workspaceId?.id ?? null }
}

function totalsOf({ costNanoUsd, ...tokens }: TokenUsage): UsageTotals {
  return {
    ...noUsage,
    ...tokens,
    totalTokens: tokens.inputTokens + tokens.outputTokens,
    costUsd: costNanoUsd === null ? null : Number(costNanoUsd) / 1e9,
  }
}
