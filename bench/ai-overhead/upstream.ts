import { createServer, type ServerResponse } from 'node:http'
import { z } from 'zod'

// An OpenAI-compatible server in a process of its own. Each chunk's text is the moment at which it was written. The model says how: `short` (3 chunks),
// `burst-N` (N at once), `paced-N` (N, one every 20 ms).

const asked = z.object({ model: z.string() })

const server = createServer((request, response) => {
  const parts: Buffer[] = []
  request.on('data', (part: Buffer) => parts.push(part))
  request.on('end', () => {
    const { model } = asked.parse(JSON.parse(Buffer.concat(parts).toString()))
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    const [kind, count = '3'] = model.split('-')
    if (kind === 'paced') pace(response, Number(count))
    else {
      for (let n = 0; n < Number(count); n += 1) write(response)
      end(response)
    }
  })
})

function pace(response: ServerResponse, count: number): void {
  let left = count
  // Not all streams at the same moments.
  setTimeout(() => {
    const timer = setInterval(() => {
      write(response)
      left -= 1
      if (left > 0 && !response.destroyed) return
      clearInterval(timer)
      end(response)
    }, 20)
  }, Math.random() * 20)
}

const chunk = (choices: unknown[], more = {}): string =>
  `data: ${JSON.stringify({ id: 'chatcmpl-bench', object: 'chat.completion.chunk', created: 1, model: 'bench-1', choices, ...more })}\n\n`

function write(response: ServerResponse): void {
  const content = String(performance.timeOrigin + performance.now())
  response.write(chunk([{ index: 0, delta: { content }, finish_reason: null }]))
}

function end(response: ServerResponse): void {
  response.write(chunk([{ index: 0, delta: {}, finish_reason: 'stop' }]))
  response.write(chunk([], { usage: { prompt_tokens: 3, completion_tokens: 3, total_tokens: 6 } }))
  response.end('data: [DONE]\n\n')
}

server.listen(0, '127.0.0.1', () => {
  const address = server.address()
  if (address !== null && typeof address === 'object') process.send?.({ port: address.port })
})
process.once('disconnect', () => process.exit())
