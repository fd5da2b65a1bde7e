import type { AiClient } from '../../ai/ai-client.ts'
import { AiError } from '../../ai/ai-error.ts'
import { workspaceScope, type Answer, type ModelRequest } from '../../ai/model-call.ts'
import type { Clock } from '../../lib/clock.ts'
import { AppError, ServerBusyError } from '../../lib/errors.ts'
import type { Database } from '../../platform/database/database.ts'
import { throughOutages } from '../../platform/database/through-outages.ts'
import type { Logger } from '../../platform/logger.ts'
import type { FinishedOutput, OutputWriter, RunOutput } from '../tasks/output/output-writer.ts'
import { recordedCall, type Ledger } from '../usage/ledger.ts'
import { endCompletion, type CompletionEnd, type CompletionOutcome } from './completion-end.ts'
import type { CompletionLeases, CompletionTimings } from './completion-leases.ts'
import type { CompletionPublisher } from './completion-messages.ts'

/** The completions with a key that this process runs, and the signs of life of all that it runs or has listeners of. */
export interface CompletionRuns {
  /** Runs it to its end, whoever comes and goes: its lease is ours. Throws ServerBusyError when there are too many. */
  start(run: CompletionRun): void
  /** Somebody in this process listens; the returned function ends that. */
  listen(completionId: string): () => void
  /** Aborts what runs and gives it up: whoever listens takes it over elsewhere. */
  close(): Promise<void>
}

export type CompletionRun = {
  id: string
  workspaceId: string
  userId: string
  leaseToken: string
  /** The number of its latest segment; 0: none. */
  lastSegment: number
  request: ModelRequest
}

export type CompletionRunsDeps = {
  db: Database
  ai: AiClient
  leases: CompletionLeases
  ledger: Ledger
  output: OutputWriter
  publisher: CompletionPublisher
  timings: CompletionTimings
  clock: Clock
  logger: Logger
  /** In [0, 1). */
  random: () => number
}

export const maxCompletionRuns = 1_000

type StopReason = 'unwanted' | 'lease-lost' | 'closing'

class RunStopped extends Error {
  readonly reason: StopReason

  constructor(reason: StopReason) {
    super(`the completion was stopped: ${reason}`)
    this.name = 'RunStopped'
    this.reason = reason
  }
}

type Running = { run: CompletionRun; control: AbortController; done: Promise<void> }

export function createCompletionRuns(deps: CompletionRunsDeps): CompletionRuns {
  const { leases, timings, logger } = deps
  const running = new Map<string, Running>()
  const listeners = new Map<string, number>()
  const closing = new AbortController()
  let timer: NodeJS.Timeout | null = null
  let beating: Promise<void> | null = null

  function schedule(): void {
    if (timer !== null || beating !== null || closing.signal.aborted || running.size + listeners.size === 0) return
    timer = setTimeout(() => {
      timer = null
      beating = beat().finally(() => {
        beating = null
        schedule()
      })
    }, timings.beatMs)
    timer.unref()
  }

  async function beat(): Promise<void> {
    const ours = [...running.values()]
    try {
      const kept = await leases.beat([...running.keys()], [...listeners.keys()])
      const byToken = new Map(kept.map((row) => [row.leaseToken, row]))
      for (const { run, control } of ours) {
        const row = byToken.get(run.leaseToken)
        if (row === undefined) control.abort(new RunStopped('lease-lost'))
        else if (row.isUnwanted && !listeners.has(run.id)) control.abort(new RunStopped('unwanted'))
      }
    } catch (error) {
      // Nothing is written without the lease, so going on does no harm.
      logger.warn({ err: error, runs: ours.length }, 'the leases of completions could not be kept; it is tried again')
    }
  }

  return {
    start(run) {
      if (running.size >= maxCompletionRuns || closing.signal.aborted)
        throw new ServerBusyError('This server answers as many keyed completions as it can.')
      const control = new AbortController()
      const done = execute(run, control, deps)
        .catch((error: unknown) =>
          logger.error({ err: error, completionId: run.id }, 'a completion could not be ended'),
        )
        .finally(() => void running.delete(run.leaseToken))
      running.set(run.leaseToken, { run, control, done })
      schedule()
    },
    listen(id) {
      listeners.set(id, (listeners.get(id) ?? 0) + 1)
      schedule()
      let isOver = false
      return () => {
        if (isOver) return
        isOver = true
        const left = (listeners.get(id) ?? 1) - 1
        if (left === 0) listeners.delete(id)
        else listeners.set(id, left)
      }
    },
    async close() {
      closing.abort(new RunStopped('closing'))
      if (timer !== null) clearTimeout(timer)
      const all = [...running.values()]
      for (const { control } of all) control.abort(new RunStopped('closing'))
      await Promise.all(all.map(({ done }) => done))
      await beating
    },
  }
}

async function execute(run: CompletionRun, control: AbortController, deps: CompletionRunsDeps): Promise<void> {
  const { id, leaseToken } = run
  const output = deps.output.open({
    taskId: id,
    leaseToken,
    attempt: 1,
    lastSegment: run.lastSegment,
    onStale: () => control.abort(new RunStopped('lease-lost')),
    onRefused: (error) => control.abort(error),
  })
  const result = await ask(run, output, { ...deps, signal: control.signal })
  const finished = await output.finish()
  const why: unknown = control.signal.reason
  const stopped = why instanceof RunStopped && !('answer' in result) ? why.reason : null
  const attempts =
    'answer' in result ? result.answer.attempts : result.failure instanceof AiError ? result.failure.attempts : []
  const { workspaceId, userId } = run
  const owner = { workspaceId, userId, completionId: id, agentId: null, taskId: null, attemptNumber: null }
  const calls = attempts.map((attempt) => recordedCall(attempt, owner))
  if (stopped === 'closing' || stopped === 'lease-lost') {
    await untilWritten(() => deps.ledger.record(calls), deps)
    if (stopped === 'closing') await deps.leases.release(leaseToken)
    await deps.publisher.publishEnd(id)
    return
  }
  const outcome = outcomeOf(run, result, {
    stopped,
    refused: why instanceof AppError ? why : null,
    logger: deps.logger,
  })
  const segment = lastSegmentOf(run, result, finished)
  const end: CompletionEnd = { id, leaseToken, outcome, segment, calls, finishedAt: deps.clock.now() }
  const isOurs = await untilWritten(() => endCompletion(deps.db, end), deps)
  if (isOurs && finished.tail !== null) await deps.publisher.publishOutput([finished.tail])
  await deps.publisher.publishEnd(id)
}

type Result = { answer: Answer } | { failure: unknown }

type AskOptions = Pick<CompletionRunsDeps, 'ai' | 'db'> & { signal: AbortSignal }

async function ask(run: CompletionRun, output: RunOutput, { ai, db, signal }: AskOptions): Promise<Result> {
  const firstReason = run.lastSegment > 0 ? 'The process that answered was lost.' : null
  try {
    for await (const event of ai.stream(run.request, { signal, scopes: [workspaceScope(run.workspaceId)] })) {
      switch (event.type) {
        case 'started':
          // Before its text, so that whoever hears that it has begun hears where it comes from.
          if (event.cached)
            await db.prisma.completion.updateMany({
              where: { id: run.id, leaseToken: run.leaseToken },
              data: { cached: true },
            })
          output.begin(event.model, event.reason ?? firstReason)
          break
        case 'delta':
          output.append(event.text)
          break
        case 'finished':
          return { answer: event.answer }
      }
    }
    return { failure: new Error('the AI client ended a stream without an answer or an error') }
  } catch (failure) {
    return { failure }
  }
}

type Stopped = { stopped: StopReason | null; refused: AppError | null; logger: Logger }

function outcomeOf(run: CompletionRun, result: Result, { stopped, refused, logger }: Stopped): CompletionOutcome {
  if (refused !== null) return { status: 'FAILED', code: 'OUTPUT_REFUSED', message: refused.message }
  if ('answer' in result) return { status: 'SUCCEEDED', answer: result.answer }
  if (stopped === 'unwanted') return { status: 'CANCELLED', code: 'ABORTED', message: 'Nobody listened any more.' }
  const { failure } = result
  if (failure instanceof AiError)
    return { status: 'FAILED', code: failure.kind.toUpperCase(), message: failure.message }
  if (failure instanceof AppError) return { status: 'FAILED', code: failure.code, message: failure.message }
  logger.error({ err: failure, completionId: run.id }, 'a completion failed by a fault of this program')
  return { status: 'FAILED', code: 'INTERNAL_SERVER_ERROR', message: 'Something went wrong inside the server.' }
}

// An empty answer voids the text of the runs before it, as any other does; only there is no text that would say so.
function lastSegmentOf(
  { lastSegment }: CompletionRun,
  result: Result,
  { segment }: FinishedOutput,
): FinishedOutput['segment'] {
  const latest = segment?.segment ?? lastSegment
  if (!('answer' in result) || result.answer.text !== '' || latest === 0) return segment
  return { segment: latest + 1, model: result.answer.model, reason: 'The answer is empty.', text: '' }
}

/** The money was spent: what the database is away for is written when it is back. */
function untilWritten<T>(write: () => Promise<T>, { random, logger }: CompletionRunsDeps): Promise<T> {
  return throughOutages(write, {
    random,
    onOutage: (error) => logger.warn({ err: error }, 'the end of a completion has to wait for the database'),
  })
}
