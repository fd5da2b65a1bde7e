import type { AttemptResult } from './attempt-run.ts'
import type { ModelRequest } from './model-call.ts'

/** The model reads its answer once more, and it is paid for: a longer one goes to the next hop instead. In UTF-16 units. */
export const maxRepairedChars = 32 * 1024
const maxProblemChars = 500

/**
 * The request with which a model mends an answer that is no valid output: the conversation, its answer, and what is wrong with it. Null when
 * that is not worth asking: the answer is empty, was cut at the maximum of output tokens (the next would be, too), or is too long.
 */
export function repairRequest(request: ModelRequest, { failure, received }: AttemptResult): ModelRequest | null {
  const { text, finishReason } = received
  if (failure === null || finishReason === 'length' || text === '' || text.length > maxRepairedChars) return null
  const problem = failure.message.slice(0, maxProblemChars)
  return {
    ...request,
    messages: [
      ...request.messages,
      { role: 'assistant', content: text },
      {
        role: 'user',
        content: `That answer cannot be used: ${problem}. Answer again with the whole answer as one JSON value that is valid for the schema, and nothing else.`,
      },
    ],
  }
}
