import { createSourceEventStream, execute, type ExecutionArgs, type ExecutionResult } from 'graphql'

/**
 * Subscribes as graphql-js does, with one difference: every event is executed with a context of its own. What a context
 * remembers (loaders, authorisations) would otherwise be as old as the subscription.
 */
export async function subscribe(
  args: ExecutionArgs,
  contextOfEvent: () => unknown,
): Promise<ExecutionResult | AsyncIterable<ExecutionResult>> {
  const source = await createSourceEventStream(args)
  if (!isAsyncIterable(source)) return source

  async function resultOf(event: unknown): Promise<ExecutionResult> {
    return execute({ ...args, rootValue: event, contextValue: contextOfEvent() })
  }

  const iterator = source[Symbol.asyncIterator]()
  return {
    [Symbol.asyncIterator]: () => ({
      async next() {
        const step = await iterator.next()
        if (step.done === true) return { done: true, value: undefined }
        return { done: false, value: await resultOf(step.value) }
      },
      async return() {
        await iterator.return?.()
        return { done: true, value: undefined }
      },
    }),
  }
}

function isAsyncIterable(value: object): value is AsyncIterable<unknown> {
  return Symbol.asyncIterator in value
}
