import {
  execute,
  getOperationAST,
  OperationTypeNode,
  type ExecutionArgs,
  type ExecutionResult,
  type GraphQLError,
  type GraphQLSchema,
} from 'graphql'
import type { Viewer } from '../features/accounts/viewer.ts'
import { BadUserInputError } from '../lib/errors.ts'
import type { Client, GraphQLContext, Services } from './context.ts'
import { createDocuments } from './documents.ts'
import { formatError } from './error-format.ts'
import type { Loaders } from './loaders.ts'
import { createResultStream, type ResultStream } from './result-stream.ts'
import { onlyBeginsSession } from './session-mutations.ts'
import { subscribe } from './subscribe.ts'
import { assertTransport, type Transport } from './transport.ts'
import { assertVariables, type Variables } from './variables.ts'

/** What a client asks for. */
export type OperationRequest = { query: string; operationName: string | null; variables: Variables }

/** Who asks, and how. */
export type Caller = {
  requestId: string
  viewer: Viewer | null
  client: Client
  transport: Transport
  /** Aborted when the caller is gone. */
  signal: AbortSignal
}

export type PreparedOperation =
  | { kind: 'refused'; errors: readonly GraphQLError[] }
  | { kind: 'ready'; args: ExecutionArgs; run: () => Promise<ExecutionResult | ResultStream> }

/**
 * The one way in for every GraphQL operation, whatever it came over: so no rule holds for one transport and not for another.
 * Neither method rejects; all errors are in the one format.
 */
export interface Operations {
  /** Everything before execution: document, transport, variables. */
  prepare(request: OperationRequest, caller: Caller): PreparedOperation
  /** Whether it does nothing but begin or renew a session: then wrong or expired credentials count as none. */
  beginsSession(request: OperationRequest): boolean
  /** Prepares and executes. A stream must be read to its end or returned. */
  run(request: OperationRequest, caller: Caller): Promise<ExecutionResult | ResultStream>
}

/** Makes the loaders of one operation: what they remember must not outlive it. */
export type CreateLoaders = (services: Services, viewer: Viewer | null) => Loaders

export type OperationsDeps = { schema: GraphQLSchema; services: Services; createLoaders: CreateLoaders }

export function createOperations({ schema, services, createLoaders }: OperationsDeps): Operations {
  const documents = createDocuments(schema)

  function prepare(request: OperationRequest, caller: Caller): PreparedOperation {
    const format = (error: unknown): GraphQLError =>
      formatError(error, {
        requestId: caller.requestId,
        now: services.clock.now(),
        logger: services.logger,
        signal: caller.signal,
      })
    try {
      const { query, operationName, variables } = request
      const checked = documents.check(query)
      if (checked.kind === 'invalid') return { kind: 'refused', errors: checked.errors.map(format) }
      const { document } = checked
      const operation = getOperationAST(document, operationName)
      if (!operation) throw new BadUserInputError('operationName', 'Name one operation of the document.')
      assertTransport(operation, caller.transport)
      assertVariables(schema, operation, variables)

      const args = { schema, document, operationName, variableValues: variables }
      const run = operation.operation === OperationTypeNode.SUBSCRIPTION ? runSubscription : runOnce
      return { kind: 'ready', args, run: () => run(args, caller, format) }
    } catch (error) {
      return { kind: 'refused', errors: [format(error)] }
    }
  }

  function contextFor(caller: Caller, signal: AbortSignal): GraphQLContext {
    const { requestId, viewer, client } = caller
    return { requestId, viewer, client, services, loaders: createLoaders(services, viewer), signal }
  }

  async function runOnce(args: ExecutionArgs, caller: Caller, format: Format): Promise<ExecutionResult> {
    try {
      return formatted(await execute({ ...args, contextValue: contextFor(caller, caller.signal) }), format)
    } catch (error) {
      return { errors: [format(error)] }
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
    prepare,
    beginsSession({ query, operationName }) {
      const checked = documents.check(query)
      return checked.kind === 'valid' && onlyBeginsSession(checked.document, operationName)
    },
    async run(request, caller) {
      const prepared = prepare(request, caller)
      return prepared.kind === 'refused' ? { errors: prepared.errors } : prepared.run()
    },
  }
}

type Format = (error: unknown) => GraphQLError

function formatted(result: ExecutionResult, format: Format): ExecutionResult {
  return result.errors === undefined ? result : { ...result, errors: result.errors.map(format) }
}
