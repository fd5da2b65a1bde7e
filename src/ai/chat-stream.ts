import { classifyStreamError } from './classifier.ts'
import { readChatChunk, type ChatChunk, type ReportedUsage } from './chat-chunk.ts'
import { createEventStreamDecoder, type ServerSentEvent } from './event-stream.ts'
import { BodyLost, failureOf, StreamFault } from './failure.ts'
import { isRecord, parseJson } from './json-value.ts'
import type { Watchdog } from './watchdog.ts'

/** What has come of an answer so far. */
export type Received = {
  text: string
  refusal: string
  /** Set by the chunk that ends the answer; without it there is none, whatever else came. */
  finishReason: string | null
  modelVersion: string | null
  usage: ReportedUsage | null
  malformedChunks: number
}

export const nothingReceived = (): Received => ({
  text: '',
  refusal: '',
  finishReason: null,
  modelVersion: null,
  usage: null,
  malformedChunks: 0,
})

/** 4 Mi UTF-16 units: no model writes that much, so a server that does is broken, and memory is not endless. */
export const maxAnswerChars = 4 * 1024 * 1024

/** How long the usage may come after the finish reason, and the end of the body after `[DONE]`. */
const usageTrailerMs = 2_000
const endOfBodyTrailerMs = 50

/**
 * Reads the body of a streamed chat completion, yields each piece of text as it comes and writes down the rest in
 * `received`. Returns when the body ends, which proves nothing by itself: look for the finish reason. Throws a
 * StreamFault for an error that the provider sent in the stream, and a BodyLost when the connection dies or is closed.
 */
export async function* readChatStream(
  response: Response,
  { received, watchdog }: { received: Received; watchdog: Watchdog },
): AsyncGenerator<string, void, undefined> {
  const reader = (await eventStreamOf(response)).getReader()
  const decoder = createEventStreamDecoder()
  for (let isDone = false; !isDone;) {
    watchdog.reading(true)
    const read = await reader.read().catch(lost)
    watchdog.reading(false)
    isDone = read.done
    for (const event of decode(() => (read.done ? decoder.end() : decoder.push(read.value)))) {
      if (event.data === '') continue
      if (event.data.startsWith('[DONE]')) {
        // Not the end of the loop: a body read to its end leaves a connection that the next call can use.
        watchdog.trailer(endOfBodyTrailerMs)
        continue
      }
      const chunk = readEvent(event)
      if (chunk === null) {
        // The half of a chunk at the end of the body is a cut, not a malformed chunk.
        if (!read.done) received.malformedChunks++
        continue
      }
      note(chunk, received, watchdog)
      if (chunk.content !== '') yield chunk.content
    }
  }
}

function lost(cause: unknown): never {
  throw new BodyLost({ cause })
}

async function eventStreamOf(response: Response): Promise<ReadableStream<Uint8Array>> {
  const type = response.headers.get('content-type') ?? ''
  // Gateways exist that answer 200 with an error, or with a page.
  if (type.includes('application/json')) {
    const value = parseJson(await response.text().catch(lost))
    if (isRecord(value) && (value['error'] ?? null) !== null) throw new StreamFault(classifyStreamError(value['error']))
  }
  if (response.body === null || type.includes('application/json') || type.includes('text/html')) {
    throw new StreamFault(failureOf('malformed_stream', `the answer is no event stream but "${type}"`))
  }
  return response.body
}

function decode(events: () => ServerSentEvent[]): ServerSentEvent[] {
  try {
    return events()
  } catch (error) {
    if (error instanceof RangeError) throw new StreamFault(failureOf('malformed_stream', error.message, error))
    throw error
  }
}

function readEvent({ event, data }: ServerSentEvent): ChatChunk | null {
  const value = parseJson(data)
  if (isRecord(value) && (value['error'] ?? null) !== null) throw new StreamFault(classifyStreamError(value['error']))
  if (event === 'error') throw new StreamFault(classifyStreamError(value ?? data))
  return readChatChunk(value)
}

function note(chunk: ChatChunk, received: Received, watchdog: Watchdog): void {
  watchdog.chunkArrived(chunk.hasToken)
  received.modelVersion ??= chunk.model
  received.usage = chunk.usage ?? received.usage
  received.text += chunk.content
  received.refusal += chunk.refusal
  if (received.text.length + received.refusal.length > maxAnswerChars) {
    throw new StreamFault(
      failureOf('answer_too_large', `the answer is longer than ${String(maxAnswerChars)} characters`),
    )
  }
  if (chunk.finishReason === null) return
  received.finishReason ??= chunk.finishReason
  watchdog.trailer(usageTrailerMs)
}
