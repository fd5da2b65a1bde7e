import type { Call } from './call-state.ts'
import type { Hop } from './attempt-run.ts'
import type { AiEvent, UpstreamAttempt } from './model-call.ts'
import type { CachedAnswer } from './response-cache.ts'

/** In UTF-16 units. */
const maxDeltaChars = 16 * 1024

export type Replay = { hop: Hop; answer: CachedAnswer; startedMs: number }

/**
 * The events of an answer from the cache: what a stream of the model would come to, at no cost, with what it saved. Null when it is not valid for
 * the output schema, which only happens when the entry is not ours.
 */
export function replayOf(call: Call, replay: Replay): Iterable<AiEvent> | null {
  const { outputSchema } = call.options
  const check = outputSchema?.check(replay.answer.text) ?? { ok: true, value: null }
  return check.ok ? events(call, replay, check.value) : null
}

function* events(call: Call, { hop, answer, startedMs }: Replay, json: unknown): Generator<AiEvent, void, undefined> {
  const { clock, newId } = call.deps
  const { text, modelVersion, finishReason } = answer
  const model = hop.model.name
  const nowMs = clock.monotonicMs()
  const usage = {
    inputTokens: 0,
    cachedInputTokens: 0,
    outputTokens: 0,
    reasoningTokens: 0,
    estimated: false,
    costNanoUsd: 0n,
    savedNanoUsd: answer.usage.costNanoUsd ?? 0n,
  }
  const record: UpstreamAttempt = {
    id: newId(),
    model,
    modelVersion,
    outcome: 'cached',
    status: null,
    message: null,
    durationMs: nowMs - startedMs,
    requestId: null,
    timeToFirstTokenMs: text === '' ? null : nowMs - startedMs,
    usage,
    at: clock.now(),
  }
  call.attempts.push(record)
  call.shownText = ''
  yield { type: 'started', model, reason: call.restartReason, cached: true }
  for (const delta of pieces(text)) {
    call.shownText += delta
    yield { type: 'delta', text: delta }
  }
  yield {
    type: 'finished',
    answer: {
      text,
      json,
      model,
      modelVersion,
      finishReason,
      cached: true,
      attempts: call.attempts,
      usage,
      latencyMs: clock.monotonicMs() - call.startedMs,
      timeToFirstTokenMs: text === '' ? null : nowMs - call.startedMs,
    },
  }
}

function* pieces(text: string): Generator<string, void, undefined> {
  for (let start = 0; start < text.length;) {
    const end = Math.min(start + maxDeltaChars, text.length)
    const isPairCut = end < text.length && /[\uD800-\uDBFF]/.test(text.charAt(end - 1))
    const piece = text.slice(start, isPairCut ? end - 1 : end)
    yield piece
    start += piece.length
  }
}
