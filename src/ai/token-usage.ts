import type { ReportedUsage } from './chat-chunk.ts'
import type { ChatMessage } from './model-call.ts'

export type CountedUsage = ReportedUsage & { estimated: boolean }

/**
 * The provider's figures where it gave some (an explicit zero is one); else an estimate, marked as such: four UTF-8 bytes
 * a token, rounded up. That is close for English prose and too low for code and for scripts with short tokens.
 */
export function countUsage(
  reported: ReportedUsage | null,
  spoken: { messages: readonly ChatMessage[]; output: string },
): CountedUsage {
  if (reported !== null) return { ...reported, estimated: false }
  return {
    inputTokens: estimateInputTokens(spoken.messages),
    cachedInputTokens: 0,
    outputTokens: estimateTokens(Buffer.byteLength(spoken.output)),
    reasoningTokens: 0,
    estimated: true,
  }
}

const bytesPerToken = 4

export function estimateInputTokens(messages: readonly ChatMessage[]): number {
  return estimateTokens(messages.reduce((sum, { content }) => sum + Buffer.byteLength(content), 0))
}

export function estimateTokens(utf8Bytes: number): number {
  return Math.ceil(utf8Bytes / bytesPerToken)
}
