import { AppError, type ErrorCode } from '../lib/errors.ts'
import type { FailureOutcome, UpstreamAttempt } from './model-call.ts'

/**
 * Why a call gave no answer: what the first model of the chain failed with, or `unknown_model` before any was asked.
 */
export type AiErrorKind = FailureOutcome | 'unknown_model'

export type AiErrorOptions = {
  kind: AiErrorKind
  /** Whether the same call, made later, may well succeed. */
  retryable: boolean
  /** When it may be asked again, as the provider or the limit said; null: it did not say. */
  retryAfterMs: number | null
  /** The text that the caller has seen of the latest run that produced any; '' when none did. */
  partialText: string
  /** Every call upstream, in order. They may have cost something: record them as one records those of an answer. */
  attempts: readonly UpstreamAttempt[]
  cause?: unknown
}

/**
 * No model gave an answer: MODEL_FAILED, or, when the caller's own limits said so before anything was sent, RATE_LIMITED
 * or BUDGET_EXCEEDED. The message names each model asked
 * and what it failed with.
 */
export class AiError extends AppError {
  readonly kind: AiErrorKind
  readonly retryable: boolean
  readonly retryAfterMs: number | null
  readonly partialText: string
  readonly attempts: readonly UpstreamAttempt[]

  constructor(message: string, options: AiErrorOptions) {
    const { kind, retryable, retryAfterMs, partialText, attempts, cause } = options
    super(codeOf(kind), message, { details: { kind, retryable, retryAfterMs }, cause })
    this.name = 'AiError'
    this.kind = kind
    this.retryable = retryable
    this.retryAfterMs = retryAfterMs
    this.partialText = partialText
    this.attempts = attempts
  }
}

function codeOf(kind: AiErrorKind): ErrorCode {
  if (kind === 'rate_limit_exceeded') return 'RATE_LIMITED'
  return kind === 'budget_exceeded' ? 'BUDGET_EXCEEDED' : 'MODEL_FAILED'
}
