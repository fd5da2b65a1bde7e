import { sleep } from '../lib/sleep.ts'
import { readDemoRequest, type DemoRequest } from './demo-request.ts'
import { demoAnswer } from './demo-answer.ts'
import type { OutputSchemas } from './output-schema.ts'
import { createProvider, type Fetch, type Provider } from './provider.ts'
import { estimateTokens } from './token-usage.ts'

export const demoProviderName = 'demo'
export const demoModelName = 'demo/demo'
export const demoTokenDelayMs = 25

/**
 * The provider that is there when none is configured. It takes the same way as the others: the SDK calls it, through a
 * `fetch` that answers with the bytes of an event stream. No model is asked, and its answers say so first.
 */
export function createDemoProvider(options: { tokenDelayMs: number; outputSchemas: OutputSchemas }): Provider {
  return createProvider(
    // The `.invalid` domain resolves nowhere (RFC 2606): nothing can leave the program even by mistake.
    { name: demoProviderName, baseUrl: 'http://demo.invalid/v1', apiKey: '' },
    { fetch: createDemoFetch(options) },
  )
}

function createDemoFetch({
  tokenDelayMs,
  outputSchemas,
}: {
  tokenDelayMs: number
  outputSchemas: OutputSchemas
}): Fetch {
  return async (_url, init) => {
    const signal = init?.signal ?? new AbortController().signal
    signal.throwIfAborted()
    const request = readDemoRequest(init?.body)
    if (request.model !== 'demo') return refusal(404, 'model_not_found', 'The demo provider has one model, "demo".')
    const answer = demoAnswer(request, outputSchemas)
    if (answer === null) {
      return refusal(400, 'demo_schema', 'The demo provider cannot make up a value for this schema: ask a real model.')
    }
    const body = demoStream(request, { answer, tokenDelayMs, signal })
    return new Response(streamOf(body), { headers: { 'content-type': 'text/event-stream', 'x-request-id': 'demo' } })
  }
}

function refusal(status: number, code: string, message: string): Response {
  const body = JSON.stringify({ error: { message, type: 'invalid_request_error', code, param: null } })
  return new Response(body, { status, headers: { 'content-type': 'application/json' } })
}

// ReadableStream.from does the same, but not in every Node that we support.
function streamOf(chunks: AsyncGenerator<Uint8Array, void, undefined>): ReadableStream<Uint8Array> {
  return new ReadableStream({
    async pull(controller) {
      const next = await chunks.next()
      if (next.done === true) controller.close()
      else controller.enqueue(next.value)
    },
    async cancel() {
      await chunks.return()
    },
  })
}

async function* demoStream(
  request: DemoRequest,
  { answer, tokenDelayMs, signal }: { answer: string; tokenDelayMs: number; signal: AbortSignal },
): AsyncGenerator<Uint8Array, void, undefined> {
  const encoder = new TextEncoder()
  const event = (data: unknown): Uint8Array => encoder.encode(`data: ${JSON.stringify(data)}\n\n`)
  const head = { id: 'chatcmpl-demo', object: 'chat.completion.chunk', created: 0, model: 'demo-1' }
  const chunk = (delta: object, finishReason: string | null): Uint8Array =>
    event({ ...head, choices: [{ index: 0, delta, finish_reason: finishReason }] })

  const tokens = tokensOf(answer)
  const sent = tokens.slice(0, request.maxTokens ?? tokens.length)
  yield chunk({ role: 'assistant', content: '' }, null)
  for (const token of sent) {
    await sleep(tokenDelayMs, signal)
    yield chunk({ content: token }, null)
  }
  yield chunk({}, sent.length < tokens.length ? 'length' : 'stop')
  if (request.includeUsage) {
    const prompt_tokens = estimateTokens(request.promptBytes)
    const usage = { prompt_tokens, completion_tokens: sent.length, total_tokens: prompt_tokens + sent.length }
    yield event({ ...head, choices: [], usage })
  }
  yield encoder.encode('data: [DONE]\n\n')
}

// A word and the space before it, as tokenizers do; a long word is several.
function tokensOf(text: string): string[] {
  return text.match(/\s?\S{1,8}|\s+/g) ?? []
}
