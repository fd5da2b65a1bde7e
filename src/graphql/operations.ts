import {
  execute,
  getOperationAST,
  OperationTypeNode,
  type ExecutionArgs,
  type ExecutionResult,
  type GraphQLError,
  type GraphQLSchema,
} from 'graphql'
import type { CookieMode } from '../features/accounts/cookie-mode.ts'
import type { Viewer } from '../features/accounts/viewer.ts'
import { BadUserInputError, type UnauthenticatedError } from '../lib/errors.ts'
import type { Admission, Asker, CostReport } from './admission.ts'
import type { Client, GraphQLContext, Services } from './context.ts'
import { assertCredentials } from './credentials.ts'
import { createDeadline } from './deadline.ts'
import { createDocuments, type DocumentsOptions } from './documents.ts'
import { formatError } from './error-format.ts'
import type { Loaders } from './loaders.ts'
import { operationCost } from './operation-cost.ts'
import { rootFields } from './root-fields.ts'
import { createResultStream, type ResultStream } from './result-stream.ts'
import { subscribe } from './subscribe.ts'
import { assertTransport, type Transport } from './transport.ts'
import { assertVariables, type Variables } from './variables.ts'

/** What a client asks for. */
export type OperationRequest = {
  /** Empty when the document is named by its hash. */
  query: string
  /** SHA-256 of a document that the server knows, in hexadecimal. */
  documentHash: string | null
  operationName: string | null
  variables: Variables
}

/** Cookie mode, and what it holds operations to. */
export interface CallerCookies extends CookieMode {
  /** Throws ForbiddenError when the request came with cookies and may not do this. */
  assertAllowed(operation: OperationTypeNode, sessionId: string | null): void
}

/** Who asks, and how. */
export type Caller = {
  requestId: string
  viewer: Viewer | null
  /** Why the credentials that came are not valid; such a caller is nobody, and may only get new ones. */
  credentialsError?: UnauthenticatedError | null
  client: Client
  /** Null over a WebSocket. */
  cookies?: CallerCookies | null
  transport: Transport
  /** Aborted when the caller is gone. */
  signal: AbortSignal
}

export type PreparedOperation =
  | { kind: 'refused'; errors: readonly GraphQLError[] }
  | { kind: 'ready'; args: ExecutionArgs; run: () => Promise<ExecutionResult | ResultStream> }

/**
 * The one way in for every GraphQL operation, whatever it came over: so no rule holds for one transport and not for another.
 * `prepare` and `run` do not reject; all errors are in the one format.
 */
export interface Operations {
  /** Counts a request before anything of it is read. Throws RateLimitedError. */
  admit(asker: Asker): Promise<void>
  /** Everything else before execution: document, credentials, transport, variables, cost. */
  prepare(request: OperationRequest, caller: Caller): Promise<PreparedOperation>
  /** Prepares and executes. A stream must be read to its end or returned. */
  run(request: OperationRequest, caller: Caller): Promise<ExecutionResult | ResultStream>
}

/** Makes the loaders of one operation: what they remember must not outlive it. */
export type CreateLoaders = (services: Services, viewer: Viewer | null) => Loaders

export type OperationsDeps = {
  schema: GraphQLSchema
  services: Services
  createLoaders: CreateLoaders
  admission: Admission
}

export type OperationsOptions = {
  documents: DocumentsOptions
  /** Of a query or mutation; `complete` and subscriptions have the deadlines of the models. */
  executionMs: number
}

type Run = (args: ExecutionArgs, caller: Caller, format: Format) => Promise<ExecutionResult | ResultStream>

export function createOperations(
  { schema, services, createLoaders, admission }: OperationsDeps,
  options: OperationsOptions,
): Operations {
  const documents = createDocuments(schema, options.documents)

  async function prepare(request: OperationRequest, caller: Caller): Promise<PreparedOperation> {
    const format = (error: unknown): GraphQLError =>
      formatError(error, {
        requestId: caller.requestId,
        now: services.clock.now(),
        logger: services.logger,
        signal: caller.signal,
      })
    try {
      const { operationName, variables } = request
      const checked = documents.check(request)
      if (checked.kind === 'invalid') {
        assertCredentials(null, caller.credentialsError ?? null)
        return { kind: 'refused', errors: checked.errors.map(format) }
      }
      const { document } = checked
      const operation = getOperationAST(document, operationName)
      if (!operation) throw new BadUserInputError('operationName', 'Name one operation of the document.')
      const fields = rootFields(document, operation)
      assertCredentials(fields, caller.credentialsError ?? null)
      caller.cookies?.assertAllowed(operation.operation, caller.viewer?.sessionId ?? null)
      assertTransport({ operation: operation.operation, fields }, caller.transport)
      assertVariables(schema, operation, variables)
      const cost = await admission.cost(caller, operationCost({ schema, document, operation, variables }))

      const args = { schema, document, operationName, variableValues: variables }
      const executionMs = fields.includes('complete') ? null : options.executionMs
      const run: Run =
        operation.operation === OperationTypeNode.SUBSCRIPTION ? runSubscription : runOnce({ executionMs, cost })
      return { kind: 'ready', args, run: () => run(args, caller, format) }
    } catch (error) {
      return { kind: 'refused', errors: [format(error)] }
    }
  }

  function contextFor(caller: Caller, signal: AbortSignal): GraphQLContext {
    const { requestId, viewer, client, cookies = null } = caller
    return { requestId, viewer, client, cookies, services, loaders: createLoaders(services, viewer), signal }
  }

  function runOnce({ executionMs, cost }: { executionMs: number | null; cost: CostReport }): Run {
    return async (args, caller, format) => {
      const deadline = createDeadline(caller.signal, executionMs)
      try {
        const contextValue = contextFor(caller, deadline.signal)
        const result = await Promise.race([execute({ ...args, contextValue }), deadline.passed])
        return { ...formatted(result, format), extensions: { cost } }
      } catch (error) {
        return { errors: [format(error)] }
      } finally {
        deadline.clear()
      }
    }
  }

  async function runSubscription(
    args: ExecutionArgs,
    caller: Caller,
    format: Format,
  ): Promise<ExecutionResult | ResultStream> {
    const over = new AbortController()
    const onEnd = (): void => {
      caller.signal.removeEventListener('abort', onEnd)
      over.abort()
    }
    caller.signal.addEventListener('abort', onEnd, { once: true })
    if (caller.signal.aborted) onEnd()
    try {
      const contextValue = contextFor(caller, over.signal)
      const source = await subscribe({ ...args, contextValue }, () => contextFor(caller, over.signal))
      if (!(Symbol.asyncIterator in source)) {
        onEnd()
        return formatted(source, format)
      }
      const stream = createResultStream(source, {
        onEnd,
        onResult: (result) => formatted(result, format),
        onError: (error) => ({ errors: [format(error)] }),
      })
      const stop = (): void => void stream.return()
      over.signal.addEventListener('abort', stop, { once: true })
      if (over.signal.aborted) stop()
      return stream
    } catch (error) {
      onEnd()
      return { errors: [format(error)] }
    }
  }

  return {
    admit: (asker) => admission.request(asker),
    prepare,
    async run(request, caller) {
      const prepared = await prepare(request, caller)
      return prepared.kind === 'refused' ? { errors: prepared.errors } : prepared.run()
    },
  }
}

type Format = (error: unknown) => GraphQLError

function formatted(result: ExecutionResult, format: Format): ExecutionResult {
  return result.errors === undefined ? result : { ...result, errors: result.errors.map(format) }
}
