import { builder } from '../../graphql/builder.ts'
import { requireViewer } from '../accounts/viewer.ts'
import { ModelAttemptRef } from '../usage/model-attempt.graphql.ts'
import { UsageRef } from '../usage/usage.graphql.ts'
import { WorkspaceRef } from '../workspaces/workspace.graphql.ts'
import { completionLimits } from './completion-input.ts'
import type { Completion, CompletionItem } from './completion-items.ts'

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

const maxCacheDays = completionLimits.cacheSeconds / (24 * 60 * 60)

const CacheControlInput = builder.inputType('CacheControlInput', {
  description:
    'What the response cache may do. By itself it answers and keeps what is asked at temperature 0; `ttlSeconds`, `maxAgeSeconds` or `forceRefresh` turn it on at any.',
  fields: (t) => ({
    ttlSeconds: t.int({
      description: `How long the answer is kept, at most ${maxCacheDays} days; 0: not at all. Default: the server’s.`,
    }),
    maxAgeSeconds: t.int({ description: 'How old an answer may be; default: as old as it is kept.' }),
    forceRefresh: t.boolean({ description: 'Ask the model in any case, and keep what it says.' }),
    noStore: t.boolean({ description: 'Keep nothing of this one.' }),
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
    cache: t.field({ type: CacheControlInput, description: 'What the response cache may do.' }),
    key: t.string({
      description: `Makes it resumable: the same key and body attach to the same completion while it runs and afterwards, on every process; another body is CONFLICT. 1 to ${completionLimits.keyCharacters} characters, unique in the workspace.`,
    }),
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
    text: t.exposeString('text', { description: 'Exactly what one model sent.' }),
    json: t.expose('json', {
      type: 'JSON',
      nullable: true,
      description: 'The value that the text is, when an `outputSchema` was given.',
    }),
    model: t.exposeString('model', { description: 'Who answered: "provider/model".' }),
    finishReason: t.exposeString('finishReason', {
      description: 'Why the answer ended, as the provider spells it; `length`: it was cut at the maximum.',
    }),
    usage: t.expose('usage', {
      type: UsageRef,
      description: 'What the answer used; what failed calls used is in `attempts` and in the workspace’s usage.',
    }),
    cached: t.exposeBoolean('cached', { description: 'Whether it came from the response cache.' }),
    latencyMs: t.exposeFloat('latencyMs', {
      description: 'From the question to the end of the answer, in milliseconds.',
    }),
    timeToFirstTokenMs: t.exposeFloat('timeToFirstTokenMs', {
      nullable: true,
      description: 'From the question to the first text, in milliseconds; null for an empty answer.',
    }),
    attempts: t.field({
      type: [ModelAttemptRef],
      description: 'Every call upstream, the successful one last.',
      resolve: ({ attempts }) => [...attempts],
    }),
  }),
})

const CompletionStarted = builder.objectRef<Item<'started'>>('CompletionStarted').implement({
  description: 'A model begins to answer.',
  fields: (t) => ({
    completionId: t.exposeID('completionId', { description: 'The completion’s id.' }),
    model: t.exposeString('model', { description: 'Who answers.' }),
    cached: t.exposeBoolean('cached', { description: 'Whether the answer comes from the response cache.' }),
  }),
})

const CompletionDelta = builder.objectRef<Item<'delta'>>('CompletionDelta').implement({
  description: 'The next piece of the answer.',
  fields: (t) => ({
    cursor: t.exposeString('cursor', {
      description: 'Where this piece ends: pass it as `after`, with the same key, to go on behind it.',
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
    code: t.string({ description: 'What went wrong.', resolve: ({ failure }) => failure.code }),
    message: t.string({ description: 'What went wrong, in words.', resolve: ({ failure }) => failure.message }),
    retryAfterMs: t.int({
      nullable: true,
      description: 'How long the provider wants to be left alone, in milliseconds.',
      resolve: ({ failure }) => wholeMs(failure.retryAfterMs),
    }),
    partialText: t.string({
      description: 'The text that came before it broke.',
      resolve: ({ failure }) => failure.partialText,
    }),
    attempts: t.field({
      type: [ModelAttemptRef],
      description: 'Every call upstream.',
      resolve: ({ failure }) => [...failure.attempts],
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

builder.queryField('completion', (t) =>
  t.field({
    type: CompletionRef,
    nullable: true,
    description:
      'The answer of the completion with this key; null while it runs, and when there is none. One that failed is an error, as it was for who asked.',
    args: {
      key: t.arg.string({ required: true, description: 'The key.' }),
      workspaceId: t.arg.globalID({ for: WorkspaceRef, description: 'Default: your personal workspace.' }),
    },
    resolve: (_root, { key, workspaceId }, { viewer, services }) =>
      services.completions.byKey(requireViewer(viewer), key, workspaceId?.id ?? null),
  }),
)

builder.mutationField('complete', (t) =>
  t.field({
    type: CompletionRef,
    description:
      'Asks a model and waits for the whole answer. With a key it waits for the one that runs, or gives the one that is there.',
    args: { input: t.arg({ type: CompletionInput, required: true, description: 'What to ask.' }) },
    resolve: (_root, { input }, { viewer, services, signal }) =>
      services.completions.complete(requireViewer(viewer), withRowId(input), signal),
  }),
)

builder.subscriptionField('completion', (t) =>
  t.field({
    type: CompletionEvent,
    description:
      'Asks a model and streams the answer. Leaving aborts the call: at once, or, with a key, when nobody has listened for 30 s.',
    args: {
      input: t.arg({ type: CompletionInput, required: true, description: 'What to ask.' }),
      after: t.arg.string({
        description: 'The cursor of the last delta that you have, of a completion with this key.',
      }),
    },
    subscribe: async (_root, { input, after }, context) => {
      const viewer = requireViewer(context.viewer)
      const { completions, liveAccess, workspaces } = context.services
      const workspaceId = input.workspaceId?.id ?? (await workspaces.access.personalWorkspaceId(viewer))
      return liveAccess.guard({ viewer, workspaceId, role: 'MEMBER' }, () =>
        completions.stream(viewer, { ...input, workspaceId }, after),
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
