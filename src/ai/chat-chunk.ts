import { isRecord } from './json-value.ts'

/** What one chunk of a chat completion says, as far as it matters here. */
export type ChatChunk = {
  /** What answers, in the provider's words. */
  model: string | null
  content: string
  refusal: string
  /**
   * True when the model has produced anything with it: text, a refusal, reasoning or a tool call. A role alone is
   * nothing.
   */
  hasToken: boolean
  finishReason: string | null
  usage: ReportedUsage | null
}

/** The provider's own figures. */
export type ReportedUsage = {
  inputTokens: number
  cachedInputTokens: number
  outputTokens: number
  reasoningTokens: number
}

/** Reads a chunk that was parsed from JSON; null when it is none. We ask for one choice, so only the first is read. */
export function readChatChunk(value: unknown): ChatChunk | null {
  if (!isRecord(value)) return null
  const choices: unknown = value['choices'] ?? []
  if (!Array.isArray(choices)) return null
  const first: unknown = choices[0]
  const choice = isRecord(first) ? first : {}
  const delta = isRecord(choice['delta']) ? choice['delta'] : {}
  const content = text(delta['content'])
  const refusal = text(delta['refusal'])
  return {
    model: text(value['model']) || null,
    content,
    refusal,
    hasToken:
      content !== '' ||
      refusal !== '' ||
      text(delta['reasoning_content']) !== '' ||
      text(delta['reasoning']) !== '' ||
      Array.isArray(delta['tool_calls']),
    finishReason: text(choice['finish_reason']) || null,
    usage: readUsage(value['usage']),
  }
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

// Figures that cannot be right count as none. An explicit zero is right.
function readUsage(value: unknown): ReportedUsage | null {
  if (!isRecord(value)) return null
  const inputTokens = tokenCount(value['prompt_tokens'])
  const outputTokens = tokenCount(value['completion_tokens'])
  if (inputTokens === null || outputTokens === null) return null
  const inputDetails = isRecord(value['prompt_tokens_details']) ? value['prompt_tokens_details'] : {}
  const outputDetails = isRecord(value['completion_tokens_details']) ? value['completion_tokens_details'] : {}
  // DeepSeek names it differently.
  const cached = tokenCount(inputDetails['cached_tokens']) ?? tokenCount(value['prompt_cache_hit_tokens']) ?? 0
  const reasoning = tokenCount(outputDetails['reasoning_tokens']) ?? 0
  return {
    inputTokens,
    cachedInputTokens: Math.min(cached, inputTokens),
    outputTokens,
    reasoningTokens: Math.min(reasoning, outputTokens),
  }
}

const maxTokenCount = 2_000_000_000

function tokenCount(value: unknown): number | null {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= maxTokenCount ? value : null
}
