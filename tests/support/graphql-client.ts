import { createClient, type Client as WebSocketClient } from 'graphql-ws'
import { WebSocket } from 'ws'

export type GraphQLErrorJson = {
  message: string
  path?: (string | number)[]
  locations?: { line: number; column: number }[]
  extensions: {
    code: string
    details: Record<string, unknown>
    timestamp: string
    requestId: string
    suggestions: string[]
  }
}

/** Without `extensions.cost`, which every answer has. */
export type GraphQLAnswer<Data> = { data?: Data | null; errors?: GraphQLErrorJson[] }

/** An operation's text; codegen's documents also carry the types of their result and variables. */
export type Operation<Data, Variables> = { toString(): string; __apiType?: (variables: Variables) => Data }

export type OperationOptions = {
  token?: string
  headers?: Record<string, string>
  /** Breaks the connection off, also one on which nothing comes. */
  signal?: AbortSignal
}
export type SubscriptionOptions = OperationOptions & { over?: 'websocket' | 'event-stream' }

/** A client of the public API, over real sockets. */
export interface GraphQLClient {
  request(path: string, init?: RequestInit): Promise<Response>
  /** One query or mutation by POST; errors are in the answer. */
  graphql<Data = Record<string, unknown>, Variables = Record<string, unknown>>(
    operation: Operation<Data, Variables>,
    variables?: Variables,
    options?: OperationOptions,
  ): Promise<GraphQLAnswer<Data>>
  /** The same, for what must succeed: throws when there are errors. */
  data<Data = Record<string, unknown>, Variables = Record<string, unknown>>(
    operation: Operation<Data, Variables>,
    variables?: Variables,
    options?: OperationOptions,
  ): Promise<Data>
  /** The results of a subscription, until it ends or the caller stops reading. */
  subscribe<Data = Record<string, unknown>, Variables = Record<string, unknown>>(
    operation: Operation<Data, Variables>,
    variables?: Variables,
    options?: SubscriptionOptions,
  ): AsyncGenerator<GraphQLAnswer<Data>, void, void>
}

/** One that is closed while it connects emits an error, when nobody listens any more. */
class TolerantWebSocket extends WebSocket {
  constructor(address: string, protocols: string) {
    super(address, protocols)
    this.on('error', () => undefined)
  }
}

export function createGraphQLClient(url: string): GraphQLClient {
  const request: GraphQLClient['request'] = (path, init) => fetch(`${url}${path}`, { redirect: 'manual', ...init })

  const client: GraphQLClient = {
    request,
    async graphql(operation, variables, options = {}) {
      const response = await post(operation.toString(), variables, { accept: 'application/json', ...options })
      return withoutCost(await response.json())
    },
    async data(operation, variables, options) {
      const { data, errors } = await client.graphql(operation, variables, options)
      if (errors !== undefined) throw new Error(`the operation failed: ${JSON.stringify(errors)}`)
      if (data === undefined || data === null) throw new Error('the operation has no data')
      return data
    },
    subscribe(operation, variables, { over = 'websocket', ...options } = {}) {
      return over === 'websocket'
        ? overWebSocket(operation.toString(), variables, options)
        : overEventStream(operation.toString(), variables, options)
    },
  }

  function post(
    query: string,
    variables: unknown,
    { token, headers, accept, signal }: OperationOptions & { accept: string },
  ): Promise<Response> {
    return request('/graphql', {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept,
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...headers,
      },
      body: JSON.stringify({ query, variables }),
      ...(signal === undefined ? {} : { signal }),
    })
  }

  async function* overWebSocket<Data>(
    query: string,
    variables: unknown,
    { token, signal }: OperationOptions,
  ): AsyncGenerator<GraphQLAnswer<Data>, void, void> {
    const socket: WebSocketClient = createClient({
      url: `${url.replace('http', 'ws')}/graphql`,
      webSocketImpl: TolerantWebSocket,
      retryAttempts: 0,
      ...(token === undefined ? {} : { connectionParams: { authorization: `Bearer ${token}` } }),
    })
    const terminate = (): void => socket.terminate()
    signal?.addEventListener('abort', terminate)
    try {
      const payload = { query, ...(isRecord(variables) ? { variables } : {}) }
      for await (const result of socket.iterate(payload)) yield withoutCost(JSON.parse(JSON.stringify(result)))
    } finally {
      signal?.removeEventListener('abort', terminate)
      // It would wait for the goodbye of a server that hangs.
      if (signal?.aborted !== true) await socket.dispose()
    }
  }

  async function* overEventStream<Data>(
    query: string,
    variables: unknown,
    options: OperationOptions,
  ): AsyncGenerator<GraphQLAnswer<Data>, void, void> {
    const stop = new AbortController()
    try {
      const signal = AbortSignal.any([stop.signal, ...(options.signal === undefined ? [] : [options.signal])])
      const response = await post(query, variables, { ...options, accept: 'text/event-stream', signal })
      if (response.body === null) throw new Error('the answer has no body')
      for await (const event of readEvents(response.body)) {
        if (event.name === 'complete') return
        if (event.name === 'next') yield withoutCost(JSON.parse(event.data))
      }
    } finally {
      stop.abort()
    }
  }

  return client
}

export type ServerSentEvent = { name: string; data: string }

/** Splits a body into its events (https://html.spec.whatwg.org/multipage/server-sent-events.html); comments are left out. */
export async function* readEvents(body: AsyncIterable<Uint8Array>): AsyncGenerator<ServerSentEvent> {
  const decoder = new TextDecoder()
  let text = ''
  for await (const chunk of body) {
    text += decoder.decode(chunk, { stream: true })
    const blocks = text.split('\n\n')
    text = blocks.pop() ?? ''
    for (const block of blocks) {
      const lines = block.split('\n').filter((line) => !line.startsWith(':'))
      const field = (name: string): string =>
        lines
          .filter((line) => line.startsWith(`${name}:`))
          .map((line) => line.slice(name.length + 1).trimStart())
          .join('\n')
      if (lines.length > 0) yield { name: field('event'), data: field('data') }
    }
  }
}

function withoutCost<Data>(answer: GraphQLAnswer<Data> & { extensions?: unknown }): GraphQLAnswer<Data> {
  const { extensions: _cost, ...rest } = answer
  return rest
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}
