import type { AiClient } from '../../ai/ai-client.ts'
import { AiError } from '../../ai/ai-error.ts'
import { workspaceScope, type AiEvent, type Answer, type ModelRequest } from '../../ai/model-call.ts'
import type { NewId } from '../../lib/ids.ts'
import { interruptible } from '../../lib/interruptible.ts'
import { parseInput } from '../../lib/parse-input.ts'
import { toStorable } from '../../lib/stored-text.ts'
import type { z } from 'zod'
import type { Prisma } from '../../generated/prisma/client.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Database } from '../../platform/database/database.ts'
import type { Viewer } from '../accounts/viewer.ts'
import { recordCalls, recordedCall } from '../usage/ledger.ts'
import type { WorkspaceAccess } from '../workspaces/access.ts'
import { createCompletionSchema, type CompletionChecks, type CompletionInput } from './completion-input.ts'

/** One prompt, one answer, without an agent or a queue: streamed from this process, and aborted when the caller leaves. */
export interface Completions {
  /**
   * Streams the answer. The models' failures are the last item, not an exception; `return()` aborts the model call. What was asked
   * upstream is in the ledger before the last item is given.
   *
   * The first step throws BadUserInputError, NotFoundError or ForbiddenError (a VIEWER).
   */
  stream(viewer: Viewer, input: CompletionInput): AsyncGenerator<CompletionItem, void, undefined>
  /** The whole answer. Throws what `stream` throws, and AppError MODEL_FAILED; aborting the signal aborts the model call. */
  complete(viewer: Viewer, input: CompletionInput, signal: AbortSignal): Promise<Completion>
}

export type Completion = { id: string; answer: Answer }

export type CompletionItem =
  | { type: 'started'; completionId: string; model: string }
  | { type: 'delta'; completionId: string; segment: number; offset: number; text: string }
  | { type: 'reset'; model: string; reason: string }
  | { type: 'finished'; completion: Completion }
  | { type: 'failed'; error: AiError }

export type CompletionsDeps = CompletionChecks & {
  db: Database
  ai: AiClient
  access: WorkspaceAccess
  clock: Clock
  newId: NewId
}

/** One completion under way. */
type Call = { id: string; workspaceId: string; userId: string; request: ModelRequest; startedAt: Date }
type Outcome = { status: 'SUCCEEDED'; answer: Answer } | { status: 'FAILED' | 'CANCELLED'; error: AiError }

export function createCompletions(deps: CompletionsDeps): Completions {
  const { db, ai, access, clock, newId } = deps
  const schema = createCompletionSchema(deps)

  async function begin(viewer: Viewer, rawInput: CompletionInput): Promise<Call> {
    const input = parseInput(schema, rawInput)
    const workspaceId = input.workspaceId ?? (await access.personalWorkspaceId(viewer))
    await access.require(viewer, workspaceId, 'MEMBER')
    return { id: newId(), workspaceId, userId: viewer.userId, request: toRequest(input), startedAt: clock.now() }
  }

  async function record(call: Call, outcome: Outcome): Promise<void> {
    const attempts = outcome.status === 'SUCCEEDED' ? outcome.answer.attempts : outcome.error.attempts
    const owner = { workspaceId: call.workspaceId, userId: call.userId, completionId: call.id }
    const calls = attempts.map((attempt) =>
      recordedCall(attempt, { ...owner, agentId: null, taskId: null, attemptNumber: null }),
    )
    await db.transaction(async (tx) => {
      await tx.completion.create({ data: completionRow(call, outcome, clock.now()) })
      await recordCalls(tx, calls)
    })
  }

  async function* run(viewer: Viewer, input: CompletionInput, signal: AbortSignal): AsyncGenerator<CompletionItem> {
    const call = await begin(viewer, input)
    const scopes = [workspaceScope(call.workspaceId)]
    const events = ai.stream(call.request, { signal, scopes })[Symbol.asyncIterator]()
    const describe = createDescriber(call.id)
    let isOver = false
    try {
      for (let step = await events.next(); step.done !== true; step = await events.next()) {
        if (step.value.type === 'finished') {
          isOver = true
          await record(call, { status: 'SUCCEEDED', answer: step.value.answer })
        }
        yield describe(step.value)
      }
    } catch (error) {
      if (!(error instanceof AiError)) throw error
      isOver = true
      await record(call, { status: signal.aborted ? 'CANCELLED' : 'FAILED', error })
      yield { type: 'failed', error }
    } finally {
      // The reader left between two items: the call is aborted by now, and what it has cost is still to be written.
      if (!isOver) await recordAborted(call, events)
    }
  }

  async function recordAborted(call: Call, events: AsyncIterator<AiEvent>): Promise<void> {
    try {
      for (let step = await events.next(); step.done !== true; step = await events.next()) {
        if (step.value.type === 'finished') await record(call, { status: 'SUCCEEDED', answer: step.value.answer })
      }
    } catch (error) {
      if (!(error instanceof AiError)) throw error
      await record(call, { status: 'CANCELLED', error })
    }
  }

  return {
    stream(viewer, input) {
      return interruptible(
        (signal) => run(viewer, input, signal),
        async () => undefined,
      )
    },
    async complete(viewer, input, signal) {
      for await (const item of run(viewer, input, signal)) {
        if (item.type === 'finished') return item.completion
        if (item.type === 'failed') throw item.error
      }
      throw new Error('a completion ended without an answer or an error')
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
          ? { type: 'started', completionId, model: event.model }
          : { type: 'reset', model: event.model, reason: event.reason }
      case 'delta':
        offset += event.text.length
        return { type: 'delta', completionId, segment, offset: offset - event.text.length, text: event.text }
      case 'finished':
        return { type: 'finished', completion: { id: completionId, answer: event.answer } }
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
  }
}

const modelRoles = { SYSTEM: 'system', USER: 'user', ASSISTANT: 'assistant' } as const

// The text is not kept: without a key nobody can ask for it again.
function completionRow(call: Call, outcome: Outcome, finishedAt: Date): Prisma.CompletionUncheckedCreateInput {
  const row = {
    id: call.id,
    workspaceId: call.workspaceId,
    userId: call.userId,
    status: outcome.status,
    createdAt: call.startedAt,
    finishedAt,
  }
  if (outcome.status !== 'SUCCEEDED') {
    return { ...row, errorCode: outcome.error.kind.toUpperCase(), errorMessage: toStorable(outcome.error.message) }
  }
  const { model, finishReason, latencyMs, timeToFirstTokenMs } = outcome.answer
  // The provider's own word.
  return { ...row, model, finishReason: toStorable(finishReason), latencyMs, timeToFirstTokenMs }
}
