import type { AiClient } from '../../ai/ai-client.ts'
import { AiError } from '../../ai/ai-error.ts'
import { workspaceScope, type AiEvent, type CacheControl, type ModelRequest } from '../../ai/model-call.ts'
import { BadUserInputError } from '../../lib/errors.ts'
import type { NewId } from '../../lib/ids.ts'
import { interruptible } from '../../lib/interruptible.ts'
import { parseInput } from '../../lib/parse-input.ts'
import type { z } from 'zod'
import type { Clock } from '../../lib/clock.ts'
import type { Viewer } from '../accounts/viewer.ts'
import type { WorkspaceAccess } from '../workspaces/access.ts'
import { completionCursor } from './completion-cursor.ts'
import { createCompletionSchema, type CompletionChecks, type CompletionInput } from './completion-input.ts'
import { completionOf, failureOf, type Completion, type CompletionItem } from './completion-items.ts'
import type { CompletionRecords } from './completion-records.ts'
import type { KeyedCompletions } from './keyed-completions.ts'

/**
 * One prompt, one answer, without an agent or a queue: streamed from this process, and aborted when the caller leaves. With a key it is kept,
 * goes on for a while without the caller, and can be gone on with: see KeyedCompletions.
 */
export interface Completions {
  /**
   * Streams the answer. The models' failures are the last item, not an exception. What was asked upstream is in the ledger before the last item
   * is given; while the database is away, after it (see CompletionRecords). `return()` aborts the model call; one with a key only when nobody has
   * listened for 30 s. `after` is the cursor of the last delta that the caller has of a completion with a key.
   *
   * The first step throws BadUserInputError, NotFoundError, ForbiddenError (a VIEWER), and with a key ConflictError and ServerBusyError; a later one
   * of a completion with a key ServiceUnavailableError, when this server stops.
   */
  stream(viewer: Viewer, input: CompletionInput, after?: string | null): AsyncGenerator<CompletionItem, void, undefined>
  /** The whole answer. Throws what `stream` throws, and MODEL_FAILED, RATE_LIMITED or BUDGET_EXCEEDED; aborting the signal is leaving. */
  complete(viewer: Viewer, input: CompletionInput, signal: AbortSignal): Promise<Completion>
  /**
   * The answer of the completion with this key, once it is there; null while it runs, and for a key that was not used. Throws what `complete`
   * threw or would have thrown when it has failed, and NotFoundError for the workspace (default: the personal one).
   */
  byKey(viewer: Viewer, key: string, workspaceId: string | null): Promise<Completion | null>
}

export type CompletionsDeps = CompletionChecks & {
  ai: AiClient
  keyed: KeyedCompletions
  records: CompletionRecords
  access: WorkspaceAccess
  clock: Clock
  newId: NewId
}

/** One completion under way. */
type Call = {
  id: string
  workspaceId: string
  userId: string
  key: string | null
  request: ModelRequest
  startedAt: Date
}
type Asked = { viewer: Viewer; input: CompletionInput; after: string | null }

export function createCompletions(deps: CompletionsDeps): Completions {
  const { ai, keyed, records, access, clock, newId } = deps
  const schema = createCompletionSchema(deps)

  async function begin({ viewer, input: rawInput, after }: Asked): Promise<Call> {
    const input = parseInput(schema, rawInput)
    const key = input.key ?? null
    if (after !== null && key === null)
      throw new BadUserInputError('after', 'after: only a completion with a key can be gone on with')
    const workspaceId = input.workspaceId ?? (await access.personalWorkspaceId(viewer))
    await access.require(viewer, workspaceId, 'MEMBER')
    return { id: newId(), workspaceId, userId: viewer.userId, key, request: toRequest(input), startedAt: clock.now() }
  }

  async function* runLive(call: Call, signal: AbortSignal): AsyncGenerator<CompletionItem, void, undefined> {
    const scopes = [workspaceScope(call.workspaceId)]
    const events = ai.stream(call.request, { signal, scopes })[Symbol.asyncIterator]()
    const describe = createDescriber(call.id)
    let isOver = false
    try {
      for (let step = await events.next(); step.done !== true; step = await events.next()) {
        if (step.value.type === 'finished') {
          isOver = true
          await records.write({ ...call, outcome: { status: 'SUCCEEDED', answer: step.value.answer } })
        }
        yield describe(step.value)
      }
    } catch (error) {
      if (!(error instanceof AiError)) throw error
      isOver = true
      await records.write({ ...call, outcome: { status: signal.aborted ? 'CANCELLED' : 'FAILED', error } })
      yield { type: 'failed', failure: failureOf(error) }
    } finally {
      // The reader left between two items: the call is aborted by now, and what it has cost is still to be written.
      if (!isOver) await recordAborted(call, events)
    }
  }

  async function recordAborted(call: Call, events: AsyncIterator<AiEvent>): Promise<void> {
    try {
      for (let step = await events.next(); step.done !== true; step = await events.next()) {
        if (step.value.type === 'finished')
          await records.write({ ...call, outcome: { status: 'SUCCEEDED', answer: step.value.answer } })
      }
    } catch (error) {
      if (!(error instanceof AiError)) throw error
      await records.write({ ...call, outcome: { status: 'CANCELLED', error } })
    }
  }

  async function* run(asked: Asked, signal: AbortSignal): AsyncGenerator<CompletionItem, void, undefined> {
    const call = await begin(asked)
    if (call.key === null) {
      yield* runLive(call, signal)
      return
    }
    const { workspaceId, userId, key, request } = call
    const items = await keyed.open({ workspaceId, userId, key, request, after: asked.after })
    const leave = (): void => void items.return()
    signal.addEventListener('abort', leave, { once: true })
    try {
      if (!signal.aborted) yield* items
    } finally {
      signal.removeEventListener('abort', leave)
      await items.return()
    }
  }

  return {
    stream(viewer, input, after = null) {
      return interruptible(
        (signal) => run({ viewer, input, after }, signal),
        async () => undefined,
      )
    },
    async complete(viewer, input, signal) {
      for await (const item of run({ viewer, input, after: null }, signal)) {
        if (item.type === 'finished') return item.completion
        if (item.type === 'failed') throw item.failure.error
      }
      signal.throwIfAborted()
      throw new Error('a completion ended without an answer or an error')
    },
    async byKey(viewer, key, workspaceId) {
      const rows = await keyed.find(await access.readableWorkspaceId(viewer, workspaceId), key)
      if (rows === null || rows.end === null) return null
      if ('failure' in rows.end) throw rows.end.failure.error
      return rows.end.completion
    },
  }
}

function createDescriber(completionId: string): (event: AiEvent) => CompletionItem {
  let segment = 0
  let offset = 0
  return (event) => {
    switch (event.type) {
      case 'started':
        segment += 1
        offset = 0
        return event.reason === null
          ? { type: 'started', completionId, model: event.model, cached: event.cached }
          : { type: 'reset', model: event.model, reason: event.reason }
      case 'delta': {
        const from = offset
        offset += event.text.length
        return {
          type: 'delta',
          cursor: completionCursor(completionId, { segment, offset }),
          offset: from,
          text: event.text,
        }
      }
      case 'finished':
        return { type: 'finished', completion: completionOf(completionId, event.answer) }
    }
  }
}

function toRequest(input: z.output<ReturnType<typeof createCompletionSchema>>): ModelRequest {
  const history = input.messages.map(({ role, content }) => ({ role: modelRoles[role], content }))
  const next = typeof input.prompt === 'string' ? [{ role: 'user' as const, content: input.prompt }] : []
  return {
    models: input.models,
    messages: [...history, ...next],
    temperature: input.temperature ?? null,
    maxOutputTokens: input.maxOutputTokens ?? null,
    outputSchema: input.outputSchema ?? null,
    onInterrupt: input.onInterrupt,
    ...(input.cache == null ? {} : { cache: toCacheControl(input.cache) }),
  }
}

const modelRoles = { SYSTEM: 'system', USER: 'user', ASSISTANT: 'assistant' } as const

function toCacheControl(input: NonNullable<CompletionInput['cache']>): CacheControl {
  const ms = (seconds: number | null | undefined): number | null => (seconds == null ? null : seconds * 1_000)
  return {
    ttlMs: ms(input.ttlSeconds),
    maxAgeMs: ms(input.maxAgeSeconds),
    forceRefresh: input.forceRefresh ?? false,
    noStore: input.noStore ?? false,
  }
}
