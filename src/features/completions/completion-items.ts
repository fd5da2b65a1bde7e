import type { AiError } from '../../ai/ai-error.ts'
import type { Answer, TokenUsage } from '../../ai/model-call.ts'
import type { AppError } from '../../lib/errors.ts'
import { noUsage, type UsageTotals } from '../usage/usage.ts'

/** An upstream call, as callers see it. */
export type CompletionAttempt = {
  model: string
  modelVersion: string | null
  outcome: string
  status: number | null
  message: string | null
  durationMs: number
  requestId: string | null
}

/** A whole answer. */
export type Completion = {
  id: string
  text: string
  json: unknown
  model: string
  finishReason: string
  /** Of the run that answered. */
  usage: UsageTotals
  cached: boolean
  latencyMs: number
  timeToFirstTokenMs: number | null
  attempts: readonly CompletionAttempt[]
}

/** Why there is no answer. */
export type CompletionFailure = {
  code: string
  message: string
  retryAfterMs: number | null
  partialText: string
  attempts: readonly CompletionAttempt[]
  /** What `complete` throws. */
  error: AppError
}

/** What happens while a completion is streamed: started, then deltas and resets, then finished or failed. */
export type CompletionItem =
  | { type: 'started'; completionId: string; model: string; cached: boolean }
  | { type: 'delta'; cursor: string; offset: number; text: string }
  | { type: 'reset'; model: string; reason: string }
  | { type: 'finished'; completion: Completion }
  | { type: 'failed'; failure: CompletionFailure }

export function completionOf(id: string, answer: Answer): Completion {
  const { text, json, model, finishReason, cached, latencyMs, timeToFirstTokenMs, attempts } = answer
  const usage = totalsOf(answer.usage)
  return { id, text, json, model, finishReason, usage, cached, latencyMs, timeToFirstTokenMs, attempts }
}

export function failureOf(error: AiError): CompletionFailure {
  const { kind, message, retryAfterMs, partialText, attempts } = error
  return { code: kind.toUpperCase(), message, retryAfterMs, partialText, attempts, error }
}

export function totalsOf({ costNanoUsd, savedNanoUsd = 0n, ...tokens }: TokenUsage): UsageTotals {
  return {
    ...noUsage,
    ...tokens,
    totalTokens: tokens.inputTokens + tokens.outputTokens,
    costUsd: costNanoUsd === null ? null : Number(costNanoUsd) / 1e9,
    savedUsd: Number(savedNanoUsd) / 1e9,
  }
}
