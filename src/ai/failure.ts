import type { FailureOutcome } from './model-call.ts'

/** Why one call of a provider failed, as the chain needs it to decide what comes next. */
export type Failure = {
  outcome: FailureOutcome
  status: number | null
  message: string
  requestId: string | null
  /** The provider's own wish, a floor for the wait before a retry. */
  retryAfterMs: number | null
  cause: unknown
}

/** What the chain does next. `again`: the same hop at once, asked differently. */
type FailureAction = 'retry' | 'again' | 'repair' | 'next_hop' | 'terminal'

/**
 * | action   | meaning                                                                                        |
 * | -------- | ---------------------------------------------------------------------------------------------- |
 * | retry    | the fault is likely to pass: wait, then the same hop, a few times; then the next                 |
 * | again    | the endpoint does not know an option: call it without, at once                                   |
 * | repair   | the answer came whole and is not valid: the same hop is told what is wrong, once; then the next   |
 * | next_hop | this hop will not answer soon (a silent one is not retried: it has cost the caller enough time) |
 * | terminal | every hop would say the same, or nobody waits for the answer                                     |
 *
 * `retryable` is for the caller: whether the same call, made later, may well succeed.
 */
export const failureRules: Readonly<Record<FailureOutcome, { action: FailureAction; retryable: boolean }>> = {
  rate_limited: { action: 'retry', retryable: true },
  server_error: { action: 'retry', retryable: true },
  overloaded: { action: 'retry', retryable: true },
  request_timeout: { action: 'retry', retryable: true },
  request_conflict: { action: 'retry', retryable: true },
  connection_failed: { action: 'retry', retryable: true },
  interrupted: { action: 'retry', retryable: true },
  malformed_stream: { action: 'retry', retryable: true },
  option_refused: { action: 'again', retryable: true },
  connect_timeout: { action: 'next_hop', retryable: true },
  first_token_timeout: { action: 'next_hop', retryable: true },
  idle_timeout: { action: 'next_hop', retryable: true },
  authentication_failed: { action: 'next_hop', retryable: false },
  permission_denied: { action: 'next_hop', retryable: false },
  quota_exhausted: { action: 'next_hop', retryable: false },
  model_not_found: { action: 'next_hop', retryable: false },
  // The next model may have a larger window; how large each is is not known here, and a refusal costs nothing.
  context_length_exceeded: { action: 'next_hop', retryable: false },
  invalid_output: { action: 'repair', retryable: true },
  bad_request: { action: 'terminal', retryable: false },
  content_filtered: { action: 'terminal', retryable: false },
  refused: { action: 'terminal', retryable: false },
  answer_too_large: { action: 'terminal', retryable: false },
  deadline_exceeded: { action: 'terminal', retryable: true },
  aborted: { action: 'terminal', retryable: false },
  // Said by a gate before anything was sent: see admission.ts.
  breaker_open: { action: 'next_hop', retryable: true },
  cooling_down: { action: 'next_hop', retryable: true },
  provider_limited: { action: 'next_hop', retryable: true },
  rate_limit_exceeded: { action: 'terminal', retryable: true },
  budget_exceeded: { action: 'terminal', retryable: false },
}

/** Thrown inside an attempt when the stream itself says that it failed. Never leaves the library. */
export class StreamFault extends Error {
  readonly failure: Failure

  constructor(failure: Failure) {
    super(failure.message, { cause: failure.cause })
    this.name = 'StreamFault'
    this.failure = failure
  }
}

/**
 * Thrown when a body could not be read to its end: the socket died under it, or we cut it.
 */
export class BodyLost extends Error {
  constructor(options: { cause: unknown }) {
    super('the body could not be read to its end', options)
    this.name = 'BodyLost'
  }
}

/** A failure that no header or status came with. */
export function failureOf(outcome: FailureOutcome, message: string, cause?: unknown): Failure {
  return { outcome, status: null, message, requestId: null, retryAfterMs: null, cause }
}
