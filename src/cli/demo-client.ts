import { createClient, type Client } from 'graphql-ws'
import { WebSocket } from 'ws'
import { z } from 'zod'
import { ServiceUnavailableError } from '../lib/errors.ts'

/** What the demo needs of the public API, as any GraphQL client would use it: fetch for operations, one WebSocket for subscriptions. */
export interface DemoClient {
  /** Runs a query or mutation and reads its data with `schema`. Throws an Error with the server's messages. */
  request<Output>(operation: Operation, schema: z.ZodType<Output>): Promise<Output>
  /** Starts a subscription on a socket of its own. */
  subscribe<Output>(operation: Operation, schema: z.ZodType<Output>): Subscription<Output>
  useToken(accessToken: string): void
}

export type Operation = { query: string; variables: Record<string, unknown> }

export interface Subscription<Output> extends AsyncIterable<Output> {
  /** Cuts the connection without a word, as a failing network does. */
  cut(): void
}

const graphqlAnswer = z.object({
  data: z.unknown().optional(),
  errors: z.array(z.object({ message: z.string() })).optional(),
})

const requestTimeoutMs = 30_000

export function createDemoClient(url: string): DemoClient {
  let token: string | null = null

  return {
    async request(operation, schema) {
      const response = await fetch(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...(token !== null && { authorization: `Bearer ${token}` }) },
        body: JSON.stringify(operation),
        signal: AbortSignal.timeout(requestTimeoutMs),
      }).catch((cause: unknown) => {
        throw new ServiceUnavailableError(
          `No server answers at ${url}. Start one with npm start, or name another with MONK_URL.`,
          {
            cause,
          },
        )
      })
      return readAnswer(await response.json(), schema)
    },
    subscribe(operation, schema) {
      const sockets: WebSocket[] = []
      const client = createClient({
        url: url.replace(/^http/, 'ws'),
        webSocketImpl: rememberingSocket(sockets),
        connectionParams: { authorization: `Bearer ${token ?? ''}` },
        retryAttempts: 0,
        lazy: true,
      })
      return {
        cut: () => sockets.at(-1)?.terminate(),
        [Symbol.asyncIterator]: () => read(client, operation, schema),
      }
    },
    useToken(accessToken) {
      token = accessToken
    },
  }
}

function rememberingSocket(sockets: WebSocket[]): unknown {
  return class extends WebSocket {
    constructor(...parameters: ConstructorParameters<typeof WebSocket>) {
      super(...parameters)
      sockets.push(this)
    }
  }
}

async function* read<Output>(client: Client, operation: Operation, schema: z.ZodType<Output>): AsyncGenerator<Output> {
  try {
    for await (const answer of client.iterate(operation)) yield readAnswer(answer, schema)
  } finally {
    await client.dispose()
  }
}

function readAnswer<Output>(answer: unknown, schema: z.ZodType<Output>): Output {
  const { data, errors } = graphqlAnswer.parse(answer)
  if (errors !== undefined) throw new Error(errors.map((error) => error.message).join('; '))
  return schema.parse(data)
}
