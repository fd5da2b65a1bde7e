import { GraphQLError, type ExecutionResult } from 'graphql'
import { createYoga, getSSEProcessor, type Plugin, type YogaLogger } from 'graphql-yoga'
import type { ServerResponse } from 'node:http'
import { formatError, isFormatted } from '../graphql/error-format.ts'
import type { Caller, OperationRequest, Operations } from '../graphql/operations.ts'
import type { ResultStream } from '../graphql/result-stream.ts'
import { AppError } from '../lib/errors.ts'
import type { Clock } from '../lib/clock.ts'
import type { Logger } from '../platform/logger.ts'
import type { Watch } from './authentication.ts'
import type { Exchange } from './exchange.ts'
import type { LiveConnections } from './live-connections.ts'
import { atTime } from './at-time.ts'
import { headersOf, isAboutTheOperation, statusOf } from './http-error.ts'

/**
 * GraphQL over HTTP (https://graphql.github.io/graphql-over-http/draft/) by GraphQL Yoga: which media type is answered, with
 * which status, and Server-Sent Events. What Yoga would also do (reading bodies of other types, CORS, pages, batches, error
 * masking, executing) is done elsewhere, by rules that hold for WebSockets too.
 */
export interface OperationAnswers {
  /** Runs one operation and writes its answer: JSON, or Server-Sent Events until the credentials expire (null: never). */
  answer(exchange: Exchange, operation: OperationRequest, caller: Caller & { expiresAt: Date | null }): Promise<void>
  /** Cuts all streams off. Without their `complete` event, so that their readers know to come back. */
  cutStreams(): void
}

export type OperationAnswersDeps = {
  operations: Operations
  live: LiveConnections
  watch: Watch
  clock: Clock
  logger: Logger
}

/** What Yoga carries for us from the request to the operation. */
type YogaContext = {
  operation: OperationRequest
  caller: Caller & { expiresAt: Date | null }
  response: ServerResponse
}

export function createOperationAnswers(deps: OperationAnswersDeps): OperationAnswers {
  const streams = new Set<ServerResponse>()

  function onStream({ response, caller: { viewer, expiresAt } }: YogaContext): void {
    const cutOff = (): void => void response.destroy()
    streams.add(response)
    const cancel = expiresAt === null ? null : atTime(expiresAt, deps.clock.now(), cutOff)
    const unwatch = viewer === null ? null : deps.watch(viewer, cutOff)
    response.once('close', () => {
      streams.delete(response)
      cancel?.()
      unwatch?.()
    })
  }

  const yoga = createYoga<YogaContext>({
    plugins: [useOurOperations(deps, onStream)],
    graphiql: false,
    landingPage: false,
    cors: false,
    batching: false,
    multipart: false,
    maskedErrors: false,
    maxRequestBodySize: false,
    parserAndValidationCache: false,
    // Yoga answers every URL that ends so; nobody's does.
    healthCheckEndpoint: '/graphql/-/yoga',
    logging: yogaLogger(deps.logger),
  })

  return {
    async answer({ request, response }, operation, caller) {
      // Yoga makes a URL of what the caller says our host is called, and answers with a stack where that is none.
      request.headers.host = 'localhost'
      await yoga(request, response, { operation, caller, response })
    },
    cutStreams() {
      for (const response of streams) response.destroy()
    },
  }
}

function useOurOperations(
  { operations, live, clock, logger }: OperationAnswersDeps,
  onStream: (context: YogaContext) => void,
): Plugin<object, YogaContext> {
  const serverSentEvents = getSSEProcessor()

  async function admitStream(
    stream: ResultStream,
    { caller, response }: YogaContext,
  ): Promise<ResultStream | ExecutionResult> {
    const leave = live.enter(caller)
    if (leave !== null) {
      response.once('close', leave)
      return stream
    }
    await stream.return()
    const error = new AppError('RATE_LIMITED', 'You have too many open streams and sockets.', {
      suggestions: ['Close one before you open another, or subscribe to several things over one WebSocket.'],
    })
    return { errors: [formatError(error, { requestId: caller.requestId, now: clock.now(), logger })] }
  }

  return {
    onRequestParse({ serverContext, setRequestParser }) {
      setRequestParser(() => ({ query: serverContext.operation.query }))
    },
    onParams({ setParamsHandler }) {
      setParamsHandler(async ({ context }) => {
        const result = await operations.run(context.operation, context.caller)
        return Symbol.asyncIterator in result ? admitStream(result, context) : result
      })
    },
    onResultProcess(hook) {
      const { result, serverContext } = hook
      if (Array.isArray(result)) return
      if (Symbol.asyncIterator in result) {
        // Yoga would answer a client that also accepts multipart/mixed with that.
        hook.setResultProcessor(serverSentEvents, 'text/event-stream')
        onStream(serverContext)
      } else {
        const { requestId, signal } = serverContext.caller
        hook.setResult(
          withStatus(result, (error) => formatError(error, { requestId, now: clock.now(), logger, signal })),
        )
      }
    },
  }
}

/**
 * Tells Yoga the status of a request that failed as a whole. `spec` leaves 200 to an event stream, and to clients that only accept
 * application/json, as GraphQL over HTTP asks for where the operation itself is at fault; with (partial) data it is 200 anyway.
 */
function withStatus(result: ExecutionResult, format: (error: unknown) => GraphQLError): ExecutionResult {
  const errors = result.errors?.map((error) => (isFormatted(error) ? error : format(error)))
  const [first, ...rest] = errors ?? []
  if (first === undefined || ('data' in result && !isLimitedAsAWhole(result, errors ?? []))) return result
  const { nodes = null, source = null, positions = null, path = null } = first
  const code = String(first.extensions['code'])
  const http = {
    status: statusOf(code),
    spec: isAboutTheOperation(code),
    headers: headersOf({ code, details: first.extensions['details'] }),
  }
  const extensions = { ...first.extensions, http }
  const marked = new GraphQLError(first.message, { nodes, source, positions, path, extensions })
  return { ...result, errors: [marked, ...rest] }
}

/** A field said that there is too much, and nothing else is in the answer: a log-in, for example. */
function isLimitedAsAWhole({ data }: ExecutionResult, errors: readonly GraphQLError[]): boolean {
  return data === null && errors.every(({ extensions }) => extensions['code'] === 'RATE_LIMITED')
}

function yogaLogger(logger: Logger): YogaLogger {
  const log =
    (level: 'info' | 'warn' | 'error') =>
    (...parts: unknown[]) =>
      logger[level]({ yoga: parts.map(String) }, 'message of the HTTP layer')
  // On debug it tells its steps, three for each request.
  return { debug: () => undefined, info: log('info'), warn: log('warn'), error: log('error') }
}
