import type { ModelRequest } from './model-call.ts'
import type { ResolvedModel } from './model-directory.ts'
import type { Pricing } from './pricing.ts'
import { estimateInputTokens } from './token-usage.ts'

/** How much an attempt may use and cost, before it is made. */
export interface AttemptSize {
  /** What the input probably is, in tokens. */
  estimatedInputTokens(): number
  /** What the input is at the most, in tokens: a real upper bound. */
  maxInputTokens(): number
  /** The maximum that is sent with the request; null when none is. */
  readonly maxOutputTokens: number | null
  /**
   * What it costs at the most, in nano-USD; null when the price is not known, or the output has no maximum: that of the request, else
   * `maxTokens`.
   */
  maxCostNanoUsd(maxTokens?: number): bigint | null
}

// No tokeniser makes more than one token of a byte; what a chat template puts around a message is less than this.
const templateTokensPerMessage = 16

export function createAttemptSize(
  { pricing, now }: { pricing: Pricing; now: () => Date },
  { model, request }: { model: ResolvedModel; request: ModelRequest },
): AttemptSize {
  const { messages, outputSchema, maxOutputTokens } = request

  function maxInputTokens(): number {
    const schemaBytes = outputSchema === null ? 0 : Buffer.byteLength(JSON.stringify(outputSchema)) + maxSchemaNoteBytes
    return messages.reduce(
      (sum, { content }) => sum + Buffer.byteLength(content) + templateTokensPerMessage,
      schemaBytes + templateTokensPerMessage,
    )
  }

  return {
    estimatedInputTokens: () => estimateInputTokens(messages),
    maxInputTokens,
    maxOutputTokens,
    maxCostNanoUsd(maxTokens) {
      const outputTokens = maxOutputTokens ?? maxTokens
      if (outputTokens === undefined) return null
      const usage = {
        inputTokens: maxInputTokens(),
        cachedInputTokens: 0,
        outputTokens,
        reasoningTokens: 0,
      }
      return pricing.costNanoUsd(model, usage, now())
    },
  }
}

// Where an endpoint knows no structured output, the schema goes into the instructions with a sentence before it.
const maxSchemaNoteBytes = 200
