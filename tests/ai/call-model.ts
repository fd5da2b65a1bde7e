import { createAiClient, type AiClient, type AiClientOptions } from '../../src/ai/ai-client.ts'
import { AiError } from '../../src/ai/ai-error.ts'
import type { AiEvent, Answer, ModelRequest } from '../../src/ai/model-call.ts'
import type { AiTimeouts } from '../../src/ai/timeouts.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { newId } from '../../src/lib/ids.ts'
import { createLogger } from '../../src/platform/logger.ts'
import type { ModelServer } from '../support/model-server.ts'

/** Short enough for tests, long enough for a busy machine; a test that waits for one of them sets that one shorter. */
export const testTimeouts: AiTimeouts = { connectMs: 3_000, firstTokenMs: 3_000, idleMs: 3_000, totalMs: 10_000 }

/** A client whose providers are these servers, with no wait before a retry. */
export function createTestAi(
  servers: Readonly<Record<string, ModelServer>>,
  overrides: Partial<AiClientOptions> = {},
): AiClient {
  return createAiClient({
    providers: Object.entries(servers).map(([name, { baseUrl }]) => ({ name, baseUrl, apiKey: `key-of-${name}` })),
    defaultModels: Object.keys(servers).map((name) => `${name}/m`),
    aliases: {},
    timeouts: testTimeouts,
    clock: systemClock,
    newId,
    random: () => 0,
    logger: createLogger({ level: 'silent' }),
    ...overrides,
  })
}

/** What a caller saw of one call. */
export type Seen = {
  /** The events with their texts joined: "started a/m", "text Hello", "started b/m because …", "finished stop". */
  events: string[]
  /** When each delta came, on the clock of performance.now(). */
  deltaAtMs: number[]
  answer: Answer | null
  error: AiError | null
}

export function requestFor(prompt: string, more: Partial<ModelRequest> = {}): ModelRequest {
  return {
    models: [],
    messages: [{ role: 'user', content: prompt }],
    temperature: null,
    maxOutputTokens: null,
    outputSchema: null,
    onInterrupt: 'RESTART',
    ...more,
  }
}

export async function callModel(
  ai: AiClient,
  more: Partial<ModelRequest> = {},
  options: { signal?: AbortSignal; onEvent?: (event: AiEvent) => void | Promise<void> } = {},
): Promise<Seen> {
  const seen: Seen = { events: [], deltaAtMs: [], answer: null, error: null }
  const signal = options.signal ?? new AbortController().signal
  try {
    for await (const event of ai.stream(requestFor('Say hello.', more), { signal })) {
      if (event.type === 'delta') seen.deltaAtMs.push(performance.now())
      if (event.type === 'finished') seen.answer = event.answer
      record(seen.events, event)
      await options.onEvent?.(event)
    }
  } catch (error) {
    if (!(error instanceof AiError)) throw error
    seen.error = error
  }
  return seen
}

/** The outcomes of a call's attempts, as "model outcome". */
export function outcomes(seen: Seen): string[] {
  return (seen.answer ?? seen.error)?.attempts.map(({ model, outcome }) => `${model} ${outcome}`) ?? []
}

function record(events: string[], event: AiEvent): void {
  switch (event.type) {
    case 'started':
      events.push(`started ${event.model}${event.reason === null ? '' : ` because ${event.reason}`}`)
      return
    case 'delta': {
      const last = events.at(-1)
      if (last?.startsWith('text ') === true) events[events.length - 1] = last + event.text
      else events.push(`text ${event.text}`)
      return
    }
    case 'finished':
      events.push(`finished ${event.answer.finishReason}`)
  }
}
