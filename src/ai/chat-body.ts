import type { ChatCompletionCreateParamsStreaming } from 'openai/resources/chat/completions'
import type { RequestStyle } from './endpoint-memory.ts'
import type { ChatMessage, JsonSchema } from './model-call.ts'

export type ChatBodyOptions = {
  model: string
  messages: readonly ChatMessage[]
  temperature: number | null
  maxOutputTokens: number | null
  outputSchema: JsonSchema | null
  style: RequestStyle
}

/** The body of a streamed chat completion, with nothing in it that was not asked for. */
export function chatBody(options: ChatBodyOptions): ChatCompletionCreateParamsStreaming {
  const { model, temperature, maxOutputTokens, outputSchema, style } = options
  return {
    model,
    messages: messagesFor(options),
    stream: true,
    ...(style.usage ? { stream_options: { include_usage: true } } : {}),
    ...(temperature === null ? {} : { temperature }),
    ...(maxOutputTokens === null ? {} : { [style.maxTokensName]: maxOutputTokens }),
    ...(outputSchema !== null && style.responseFormat ? { response_format: structuredOutput(outputSchema) } : {}),
  }
}

// Not `strict`: OpenAI takes only a part of JSON Schema with it and refuses the rest. The answer is checked in any
// case.
function structuredOutput(schema: JsonSchema): {
  type: 'json_schema'
  json_schema: { name: string; schema: { [key: string]: unknown } }
} {
  return { type: 'json_schema', json_schema: { name: 'answer', schema: { ...schema } } }
}

function messagesFor({ messages, outputSchema, style }: ChatBodyOptions): ChatMessage[] {
  if (outputSchema === null || style.responseFormat) return [...messages]
  const content = `Answer with one JSON value and nothing else. It must be valid for this JSON Schema:\n${JSON.stringify(outputSchema)}`
  // Behind the other instructions: the provider's prefix cache holds what comes first.
  const start = messages.findIndex(({ role }) => role !== 'system')
  const at = start === -1 ? messages.length : start
  return [...messages.slice(0, at), { role: 'system', content }, ...messages.slice(at)]
}
