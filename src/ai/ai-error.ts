import { AppError } from '../lib/errors.ts'
import type { FailureOutcome, UpstreamAttempt } from './model-call.ts'

/**
 * Why a call gave no answer: what the first model of the chain failed with, or `unknown_model` before any was asked.
 */
export type AiErrorKind = FailureOutcome | 'unknown_model'

export type AiErrorOptions = {
  kind: AiErrorKind
  /** Whether the same call, made later, may well succeed. */
  retryable: boolean
  /** When the provider said that it may be asked again; null: it did not say. */
  retryAfterMs: number | null
  /** The text that the caller has seen of the latest run that produced any; '' when none did. */
  partialText: string
  /** Every call upstream, in order. They may have cost something: record them as one records those of an answer. */
  attempts: readonly UpstreamAttempt[]
  cause?: unknown
}

/** No model gave an answer. The message names each model asked and what it failed with. */
export class AiError extends AppError {
  readonly kind: AiErrorKind
  readonly retryable: boolean
  readonly retryAfterMs: number | null
  readonly partialText: string
  readonly attempts: readonly UpstreamAttempt[]

  constructor(message: string, options: AiErrorOptions) {
    const { kind, retryable, retryAfterMs, partialText, attempts, cause } = options
    super('MODEL_FAILED', message, { details: { kind, retryable, retryAfterMs }, cause })
    this.name = 'AiError'
    this.kind = kind
    this.retryable = retryable
    this.retryAfterMs = retryAfterMs
    this.partialText = partialText
    this.attempts = attempts
  }
}
