import { chatBody } from './chat-body.ts'
import { readChatStream } from './chat-stream.ts'
import { requestIdOf } from './classifier.ts'
import { requestIdHeader } from './connection-watch.ts'
import { endAbandoned, endBroken, endComplete, startRun } from './attempt-run.ts'
import type { AttemptDeps, AttemptOptions, AttemptResult, AttemptRun } from './attempt-run.ts'
import { createWatchdog } from './watchdog.ts'

/** One call of one provider. */
export interface Attempt {
  /**
   * Makes the call and yields the text as it comes. Ends when the call has ended, however: a call that fails is a
   * result, not an exception. The connection is closed by then, also when the iteration is left early.
   */
  texts(): AsyncGenerator<string, void, undefined>
  /** How it ended; to be asked once `texts` has come to its end or was left. */
  result(): AttemptResult
}

export function createAttempt(deps: AttemptDeps, options: AttemptOptions): Attempt {
  const { hop, deadlineMs, signal } = options
  let result: AttemptResult | undefined

  async function* texts(): AsyncGenerator<string, void, undefined> {
    const upstream = new AbortController()
    const close = (): void => upstream.abort()
    const stopListening = signal.onAbort(close)
    if (signal.aborted) close()
    const watchdog = createWatchdog({ clock: deps.clock, timeouts: hop.timeouts, deadlineMs, giveUp: close })
    const forget = deps.connections.watch(options.id, () => watchdog.connected())
    const run = startRun(deps, options)
    let isRead = false
    try {
      const response = await open(run, upstream.signal)
      watchdog.connected()
      for await (const text of readChatStream(response, { received: run.received, watchdog })) {
        run.firstTextAtMs ??= deps.clock.monotonicMs()
        yield text
      }
      isRead = true
      result = endComplete(run)
    } catch (error) {
      result = endBroken(run, error, { watchdog, signal })
    } finally {
      forget()
      watchdog.stop()
      stopListening()
      result ??= endAbandoned(run)
      // An abort costs 0.2 ms (two DOMExceptions with their stacks): not when the body was read to its end.
      if (!isRead) close()
    }
  }

  return {
    texts,
    result() {
      if (result === undefined) throw new Error('the attempt has not ended yet')
      return result
    },
  }
}

async function open(run: AttemptRun, signal: AbortSignal): Promise<Response> {
  const { hop, request } = run.options
  const body = chatBody({
    model: hop.model.model,
    messages: request.messages,
    temperature: request.temperature,
    maxOutputTokens: request.maxOutputTokens,
    outputSchema: request.outputSchema,
    style: run.style,
  })
  const response = await hop.provider.sdk.chat.completions
    .create(body, { signal, headers: { [requestIdHeader]: run.options.id } })
    .asResponse()
  run.status = response.status
  run.requestId = requestIdOf(response.headers)
  return response
}
