/*
 * An OpenAI-compatible server that answers as fast as it can: `node --import tsx upstream.ts <chunks>` prints its base URL and serves until it
 * is killed. Each chunk is a write of its own, with a turn of the event loop between two, so that each arrives by itself.
 */
import { createServer, type ServerResponse } from 'node:http'

const chunkCount = Number(process.argv[2])
const envelope = { id: 'chatcmpl-bench', object: 'chat.completion.chunk', created: 1, model: 'fast-1' }
const event = (value: unknown): Buffer => Buffer.from(`data: ${JSON.stringify(value)}\n\n`)
const choice = (delta: object, reason: string | null): Buffer =>
  event({ ...envelope, choices: [{ index: 0, delta, finish_reason: reason }] })

const tokens = { prompt_tokens: 11, completion_tokens: chunkCount, total_tokens: 11 + chunkCount }
const parts: readonly Buffer[] = [
  choice({ role: 'assistant', content: '' }, null),
  ...Array.from({ length: chunkCount }, (_, index) => choice({ content: `chunk ${index + 1} ` }, null)),
  Buffer.concat([
    choice({}, 'stop'),
    event({ ...envelope, choices: [], usage: tokens }),
    Buffer.from('data: [DONE]\n\n'),
  ]),
]

function writeNext(response: ServerResponse, next: number): void {
  const part = parts[next]
  if (response.destroyed) return
  if (part === undefined) {
    response.end()
    return
  }
  response.write(part)
  setImmediate(writeNext, response, next + 1)
}

const server = createServer({ keepAlive: true }, (request, response) => {
  request.resume()
  request.once('end', () => {
    response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' })
    response.flushHeaders()
    writeNext(response, 0)
  })
})
server.keepAliveTimeout = 60_000
server.listen(0, '127.0.0.1', () => {
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the upstream has no port')
  console.log(`http://127.0.0.1:${address.port}/v1`)
})
