import { isRecord, parseJson } from './json-value.ts'

/** What the demo provider reads of a request. */
export type DemoRequest = {
  model: string
  lastUserText: string
  promptBytes: number
  maxTokens: number | null
  includeUsage: boolean
  /** The schema of a `json_schema` response format. */
  schema: unknown
}

export function readDemoRequest(body: unknown): DemoRequest {
  const parsed = typeof body === 'string' ? parseJson(body) : undefined
  const request = isRecord(parsed) ? parsed : {}
  const messages: unknown[] = Array.isArray(request['messages']) ? request['messages'] : []
  const read = messages.filter(isRecord).map(({ role, content }) => ({
    role,
    content: typeof content === 'string' ? content : '',
  }))
  const max = request['max_completion_tokens'] ?? request['max_tokens']
  return {
    model: typeof request['model'] === 'string' ? request['model'] : '',
    lastUserText: read.findLast(({ role }) => role === 'user')?.content ?? '',
    promptBytes: read.reduce((sum, { content }) => sum + Buffer.byteLength(content), 0),
    maxTokens: typeof max === 'number' ? max : null,
    includeUsage: at(request, 'stream_options', 'include_usage') === true,
    schema: at(request, 'response_format', 'json_schema', 'schema') ?? null,
  }
}

function at(value: unknown, ...path: string[]): unknown {
  return path.reduce<unknown>((found, key) => (isRecord(found) ? found[key] : undefined), value)
}
