import { APIConnectionError, APIConnectionTimeoutError, APIError } from 'openai'
import { BodyLost, failureOf, StreamFault, type Failure } from './failure.ts'
import { isRecord } from './json-value.ts'
import type { FailureOutcome } from './model-call.ts'
import { retryAfterMs, type HeaderReader } from './retry-after.ts'

/** What an error body says, from an HTTP error or from the middle of a stream. */
export type ErrorBody = { code: unknown; type: unknown; message: string }

// What OpenAI, Azure, Anthropic, Google, DeepSeek, Groq, Mistral, OpenRouter and vLLM put into `error.code` or
// `error.type`.
const outcomeOfCode: ReadonlyMap<string, FailureOutcome> = new Map(
  Object.entries<FailureOutcome>({
    context_length_exceeded: 'context_length_exceeded',
    content_filter: 'content_filtered',
    content_policy_violation: 'content_filtered',
    responsibleaipolicyviolation: 'content_filtered',
    data_inspection_failed: 'content_filtered',
    moderation_blocked: 'content_filtered',
    insufficient_quota: 'quota_exhausted',
    quota_exceeded: 'quota_exhausted',
    billing_hard_limit_reached: 'quota_exhausted',
    billing_not_active: 'quota_exhausted',
    billing_error: 'quota_exhausted',
    insufficient_balance: 'quota_exhausted',
    insufficient_credits: 'quota_exhausted',
    payment_required: 'quota_exhausted',
    account_deactivated: 'quota_exhausted',
    rate_limit_exceeded: 'rate_limited',
    rate_limit_error: 'rate_limited',
    rate_limited: 'rate_limited',
    too_many_requests: 'rate_limited',
    resource_exhausted: 'rate_limited',
    invalid_api_key: 'authentication_failed',
    authentication_error: 'authentication_failed',
    permission_error: 'permission_denied',
    permission_denied: 'permission_denied',
    unsupported_country_region_territory: 'permission_denied',
    model_not_found: 'model_not_found',
    deploymentnotfound: 'model_not_found',
    not_found_error: 'model_not_found',
    server_error: 'server_error',
    internal_error: 'server_error',
    internal_server_error: 'server_error',
    api_error: 'server_error',
    overloaded: 'overloaded',
    overloaded_error: 'overloaded',
    engine_overloaded: 'overloaded',
    service_unavailable: 'overloaded',
    slow_down: 'overloaded',
  }),
)

// Endpoints that give no code for it say it in words.
const contextLengthMessage =
  /maximum context length|context window|prompt is too long|exceeds? the (available )?context/i

/**
 * Why the request failed, from what the SDK or the reading of the body threw; null for anything else, which is no fault
 * of the provider or the network. `now` reads a Retry-After that is a date.
 */
export function classifyError(error: unknown, now: Date): Failure | null {
  if (error instanceof StreamFault) return error.failure
  if (error instanceof BodyLost) return failureOf('interrupted', describeChain(error.cause), error.cause)
  if (error instanceof APIConnectionTimeoutError)
    return failureOf('connect_timeout', 'The connection timed out.', error)
  if (error instanceof APIConnectionError) return failureOf('connection_failed', describeChain(error), error)
  if (error instanceof APIError) {
    const headers: HeaderReader | undefined = error.headers
    const status = typeof error.status === 'number' ? error.status : null
    return {
      outcome: outcomeOf({ code: error.code, type: error.type, message: error.message }, status),
      status,
      message: error.message,
      requestId: headers === undefined ? null : requestIdOf(headers),
      retryAfterMs: headers === undefined ? null : retryAfterMs(headers, now),
      cause: error,
    }
  }
  return null
}

/** The error that a provider sent in the middle of a stream that had begun with 200. */
export function classifyStreamError(payload: unknown): Failure {
  const record = isRecord(payload) ? payload : {}
  const message = typeof payload === 'string' ? payload : record['message']
  const body = { code: record['code'], type: record['type'], message: typeof message === 'string' ? message : '' }
  // OpenRouter puts the upstream's HTTP status into the code.
  const status = typeof body.code === 'number' && body.code >= 400 && body.code < 600 ? body.code : null
  const text = body.message === '' ? `error in the stream: ${JSON.stringify(payload)}` : body.message
  return failureOf(outcomeOf(body, status), text, payload)
}

export function requestIdOf(headers: HeaderReader): string | null {
  return headers.get('x-request-id') ?? headers.get('request-id')
}

// Code, then type, then what only the message says, then status: the more exact word wins.
function outcomeOf({ code, type, message }: ErrorBody, status: number | null): FailureOutcome {
  const named = outcomeNamed(code) ?? outcomeNamed(type)
  if (named !== undefined) return named
  if ((status === null || status === 400 || status === 413) && contextLengthMessage.test(message)) {
    return 'context_length_exceeded'
  }
  if (status !== null) return outcomeOfStatus(status)
  return type === 'invalid_request_error' ? 'bad_request' : 'server_error'
}

function outcomeNamed(name: unknown): FailureOutcome | undefined {
  return typeof name === 'string' ? outcomeOfCode.get(name.toLowerCase()) : undefined
}

function outcomeOfStatus(status: number): FailureOutcome {
  switch (status) {
    case 401:
      return 'authentication_failed'
    case 402:
      return 'quota_exhausted'
    case 403:
      return 'permission_denied'
    case 404:
      return 'model_not_found'
    case 408:
      return 'request_timeout'
    case 409:
      return 'request_conflict'
    case 429:
      return 'rate_limited'
    case 503:
    case 529:
      return 'overloaded'
  }
  return status >= 500 ? 'server_error' : 'bad_request'
}

// "Connection error." says nothing; the reason (ECONNREFUSED, socket hang up) is at the end of the causes.
function describeChain(error: unknown): string {
  const parts: string[] = []
  let current = error
  for (let depth = 0; depth < 5 && current instanceof Error; depth++) {
    const message = current.message === '' ? current.name : current.message
    if (!parts.includes(message)) parts.push(message)
    // A name that resolves to several addresses fails with one error for each of them.
    current = current instanceof AggregateError ? current.errors[0] : current.cause
  }
  return parts.length === 0 ? String(error) : parts.join(': ')
}
