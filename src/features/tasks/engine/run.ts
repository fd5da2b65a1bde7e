import type { AiClient } from '../../../ai/ai-client.ts'
import { AiError } from '../../../ai/ai-error.ts'
import { workspaceScope, type Answer, type CallScope, type UpstreamAttempt } from '../../../ai/model-call.ts'
import { AppError, isOutage } from '../../../lib/errors.ts'
import { fullJitterDelayMs } from '../../../lib/backoff.ts'
import type { Logger } from '../../../platform/logger.ts'
import { recordedCall, type CallOwner, type RecordedCall } from '../../usage/ledger.ts'
import type { FinishedOutput, OutputWriter, RunOutput } from '../output/output-writer.ts'
import type { LimitQueue } from './limit-queue.ts'
import { stateOfAnswer } from './agent-state.ts'
import type { DependencyResults } from './dependency-results.ts'
import { buildMessages, charactersPerDependency } from './prompt.ts'
import type { ClaimedRun } from './task-json.ts'
import type { RunEnd, RunError } from './transition-input.ts'

/** Why a run was stopped from outside. */
export type StopReason = 'cancelled' | 'timeout' | 'lease-lost' | 'shutdown'

/** The reason of an AbortSignal that stops a run. */
export class RunStopped extends Error {
  readonly reason: StopReason

  constructor(reason: StopReason) {
    super(`the run was stopped: ${reason}`)
    this.name = 'RunStopped'
    this.reason = reason
  }
}

export type RunDeps = {
  ai: AiClient
  output: OutputWriter
  limitQueue: LimitQueue
  dependencies: DependencyResults
  random: () => number
  logger: Logger
}

/** What is left to do when the model is done: write the end (null: the lease is lost, nothing may be written) and publish the tail. */
export type RunResult = {
  end: RunEnd | null
  calls: readonly RecordedCall[]
  tail: FinishedOutput['tail']
}

type Outcome = { answer: Answer } | { failure: unknown }

/**
 * Runs one claimed task against its models, to an end. Never throws: whatever goes wrong is an end of some kind. Aborting the signal
 * with a RunStopped aborts the model call.
 */
export async function run(claimed: ClaimedRun, control: AbortController, deps: RunDeps): Promise<RunResult> {
  const { task, leaseToken } = claimed
  const output = deps.output.open({
    taskId: task.id,
    leaseToken,
    attempt: task.attempt,
    lastSegment: claimed.lastSegment,
    onStale: () => control.abort(new RunStopped('lease-lost')),
    onRefused: (error) => control.abort(error),
  })
  const timeout = setTimeout(() => control.abort(new RunStopped('timeout')), task.timeoutMs)
  let outcome: Outcome
  try {
    outcome = { answer: await ask(claimed, output, { ...deps, signal: control.signal }) }
  } catch (failure) {
    outcome = { failure }
  } finally {
    clearTimeout(timeout)
  }
  const finished = finalOutput(claimed, outcome, await output.finish())
  return describeEnd(claimed, { outcome, finished, stopped: control.signal.reason }, deps)
}

async function ask(
  claimed: ClaimedRun,
  output: RunOutput,
  { ai, dependencies, signal }: Pick<RunDeps, 'ai' | 'dependencies'> & { signal: AbortSignal },
): Promise<Answer> {
  const { task, agent, lastSegment } = claimed
  // Nearly all tasks depend on none, and cost no statement.
  const { dependencyCount } = task
  const results =
    dependencyCount === 0 ? [] : await dependencies.read(task.id, charactersPerDependency(dependencyCount))
  const request = {
    models: agent.models,
    messages: buildMessages(claimed, results),
    temperature: agent.temperature,
    maxOutputTokens: agent.maxOutputTokens,
    outputSchema: agent.outputSchema,
    onInterrupt: 'RESTART',
  } as const
  const firstReason = lastSegment > 0 ? `Attempt ${claimed.task.attempt} began.` : null
  for await (const event of ai.stream(request, { signal, scopes: scopesOf(claimed) })) {
    switch (event.type) {
      case 'started':
        output.begin(event.model, event.reason ?? firstReason)
        break
      case 'delta':
        output.append(event.text)
        break
      case 'finished':
        return event.answer
    }
  }
  throw new Error('the AI client ended a stream without an answer or an error')
}

// An empty answer voids the text of the runs before it, as any other does; only there is no text that would say so.
function finalOutput({ lastSegment }: ClaimedRun, outcome: Outcome, finished: FinishedOutput): FinishedOutput {
  const latest = finished.segment?.segment ?? lastSegment
  if (!('answer' in outcome) || outcome.answer.text !== '' || latest === 0) return finished
  const { model } = outcome.answer
  return { segment: { segment: latest + 1, model, reason: 'The answer is empty.', text: '' }, tail: null }
}

/** `stopped` is the reason of the signal: a RunStopped, an AppError when the output cannot be kept, or undefined. */
type RunFacts = { outcome: Outcome; finished: FinishedOutput; stopped: unknown }

function describeEnd(claimed: ClaimedRun, facts: RunFacts, deps: RunDeps): RunResult {
  const { outcome, finished } = facts
  const stopped = facts.stopped instanceof RunStopped ? facts.stopped.reason : null
  const attempts = 'answer' in outcome ? outcome.answer.attempts : attemptsOf(outcome.failure)
  const calls = attempts.map((attempt) => recordedCall(attempt, ownerOf(claimed)))
  // An answer that is complete counts, whatever was asked of the run at the last moment; without the lease nothing does.
  if (stopped === 'lease-lost') return { end: null, calls, tail: null }
  const end = {
    taskId: claimed.task.id,
    leaseToken: claimed.leaseToken,
    output: finished.segment,
    outputJson: 'answer' in outcome ? outcome.answer.json : null,
    model: 'answer' in outcome ? outcome.answer.model : (attempts.at(-1)?.model ?? null),
    timeToFirstTokenMs: 'answer' in outcome ? outcome.answer.timeToFirstTokenMs : null,
    calls,
    reason: null,
    retryDelayMs: null,
    error: null,
  }
  const isKept = !(facts.stopped instanceof AppError)
  if ('answer' in outcome && isKept) {
    const { write: agentState, problem: reason } = stateOfAnswer(claimed.agent, outcome.answer.json)
    return { end: { ...end, outcome: 'SUCCEEDED', agentState, reason }, calls, tail: finished.tail }
  }
  if (stopped === 'cancelled') return { end: { ...end, outcome: 'CANCELLED' }, calls, tail: finished.tail }
  if (stopped === 'shutdown') {
    return { end: { ...end, outcome: 'RELEASED', reason: 'The worker was shut down.' }, calls, tail: null }
  }
  const failure = 'failure' in outcome ? outcome.failure : null
  // Not the model was away but what we asked before the call, for a budget or a limit: that is no attempt of the task's.
  if (isOutage(failure) && stopped === null) {
    deps.logger.warn({ err: failure, taskId: claimed.task.id }, 'a run was given back, because the database is away')
    return { end: { ...end, outcome: 'RELEASED', reason: 'The database was away.' }, calls, tail: null }
  }
  const error = describeError(claimed, { failure, stopped: facts.stopped }, deps.logger)
  if (isLimited(failure) && stopped === null) {
    const retryDelayMs = delayOfLimit(claimed, failure, deps.limitQueue)
    return { end: { ...end, outcome: 'LIMITED', error, reason: failure.message, retryDelayMs }, calls, tail: null }
  }
  if (!error.retryable)
    return { end: { ...end, outcome: 'FAILED', error, reason: error.message }, calls, tail: finished.tail }
  const retryDelayMs = delayBeforeRetry(claimed, failure, deps.random)
  return { end: { ...end, outcome: 'RETRY', error, reason: error.message, retryDelayMs }, calls, tail: finished.tail }
}

/** The agent or the workspace may make no more model calls for now, whichever model is asked. A budget that time does not free is no such limit. */
function isLimited(failure: unknown): failure is AiError {
  if (!(failure instanceof AiError)) return false
  return failure.kind === 'rate_limit_exceeded' || (failure.kind === 'budget_exceeded' && failure.retryAfterMs !== null)
}

/** A budget that frees up so late frees up for all at once: there is no line to stand in. */
const longBudgetWaitMs = 60_000

function delayOfLimit({ agent }: ClaimedRun, { kind, retryAfterMs }: AiError, queue: LimitQueue): number {
  const waitMs = Math.min(retryAfterMs ?? 1_000, maxWishedDelayMs)
  if (kind === 'budget_exceeded' && waitMs > longBudgetWaitMs) return waitMs
  const { id, requestsPerMinute } = agent
  return Math.min(queue.delayMs(id, { retryAfterMs: waitMs, requestsPerMinute }), maxWishedDelayMs)
}

function attemptsOf(failure: unknown): readonly UpstreamAttempt[] {
  return failure instanceof AiError ? failure.attempts : []
}

function describeError(
  { task }: ClaimedRun,
  { failure, stopped }: { failure: unknown; stopped: unknown },
  logger: Logger,
): RunError {
  if (stopped instanceof RunStopped) {
    return { code: 'TIMEOUT', message: `The attempt took longer than ${task.timeoutMs} ms.`, retryable: true }
  }
  if (stopped instanceof AppError) return { code: 'OUTPUT_REFUSED', message: stopped.message, retryable: false }
  if (failure instanceof AiError) {
    return { code: failure.kind.toUpperCase(), message: failure.message, retryable: failure.retryable }
  }
  logger.error({ err: failure, taskId: task.id }, 'a run failed by a fault of this program')
  return { code: 'INTERNAL_SERVER_ERROR', message: 'Something went wrong inside the server.', retryable: true }
}

/** A provider that wants to be left alone for longer is not taken at its word. */
const maxWishedDelayMs = 24 * 60 * 60 * 1_000

function delayBeforeRetry({ task, agent }: ClaimedRun, failure: unknown, random: () => number): number {
  const backoffMs = fullJitterDelayMs(task.attemptsUsed, {
    initialDelayMs: agent.retryInitialDelayMs,
    maxDelayMs: agent.retryMaxDelayMs,
    random,
  })
  const wishedMs = failure instanceof AiError ? (failure.retryAfterMs ?? 0) : 0
  return Math.max(backoffMs, Math.min(Math.ceil(wishedMs), maxWishedDelayMs))
}

/** Whose limits and budgets the run counts against. */
function scopesOf({ task, agent }: ClaimedRun): readonly CallScope[] {
  const { requestsPerMinute, tokensPerMinute } = agent
  return [
    workspaceScope(task.workspaceId),
    { kind: 'agent', id: task.agentId, rateLimit: { requestsPerMinute, tokensPerMinute } },
  ]
}

function ownerOf({ task }: ClaimedRun): CallOwner {
  return {
    workspaceId: task.workspaceId,
    agentId: task.agentId,
    userId: task.createdById,
    taskId: task.id,
    attemptNumber: task.attempt,
    completionId: null,
  }
}
