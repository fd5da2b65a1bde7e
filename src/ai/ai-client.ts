import { LRUCache } from 'lru-cache'
import type { Clock } from '../lib/clock.ts'
import type { NewId } from '../lib/ids.ts'
import type { CircuitBreakers } from '../platform/circuit-breaker/circuit-breaker.ts'
import { createInProcessCircuitBreakers } from '../platform/circuit-breaker/in-process.ts'
import type { Cache } from '../platform/cache/cache.ts'
import type { Logger } from '../platform/logger.ts'
import { createInProcessRateLimits } from '../platform/rate-limit/in-process.ts'
import type { RateLimits } from '../platform/rate-limit/rate-limit.ts'
import { composeGates, type AttemptGate } from './admission.ts'
import { AiError } from './ai-error.ts'
import type { Hop } from './attempt-run.ts'
import { createBackgroundWork, type BackgroundWork } from './background-work.ts'
import { createBreakerGate } from './breaker-gate.ts'
import { createCallControl, type CallControl } from './call-signal.ts'
import { runChain, type BegunCall } from './chain.ts'
import { createConnectionWatch } from './connection-watch.ts'
import { createHttpFetch } from './http-fetch.ts'
import { createDemoProvider, demoModelName, demoProviderName, demoTokenDelayMs } from './demo-provider.ts'
import { createEndpointMemory } from './endpoint-memory.ts'
import type { AiEvent, CallScope, ModelName, ModelRequest, RateLimit } from './model-call.ts'
import { createFiguresGate } from './figures-gate.ts'
import { createModelDirectory, maxModelsPerCall, type ModelDirectory, type ResolvedModel } from './model-directory.ts'
import { createModelFigures } from './model-figures.ts'
import { modelStatuses, type FiguresBoard, type ModelStatus } from './model-status.ts'
import { createOutputSchemas, type OutputSchema } from './output-schema.ts'
import { createPricing, type ModelPrice } from './pricing.ts'
import { createProvider, type ProviderConfig } from './provider.ts'
import { createRateLimitGate } from './rate-limit-gate.ts'
import { createResponseCache } from './response-cache.ts'
import { createTimeoutLookup, type AiTimeouts } from './timeouts.ts'

/** Calls models. See README.md in this folder for what happens when they fail. */
export interface AiClient {
  /**
   * Asks the models of the request in order until one answers, and says what happens as it happens: see AiEvent. Throws
   * an AiError when none answers, and when `signal` is aborted: the connection upstream is closed at once then, and the
   * error has what was shown and what it cost. (Leaving the iteration early closes the connection too, but nobody hears
   * of the costs.)
   */
  stream(request: ModelRequest, options: CallOptions): AsyncIterable<AiEvent>
  /**
   * What models would be asked for these names; the default ones for an empty list. Throws BadUserInputError for an
   * unknown provider or alias, its field being `field` (default `models`) and the index.
   */
  resolve(models: readonly ModelName[], field?: string): readonly ResolvedModel[]
  /**
   * Compiles a schema for answers, or throws BadUserInputError naming `field` (default `outputSchema`): for validating
   * one at its definition.
   */
  compileOutputSchema(schema: unknown, field?: string): OutputSchema
  /** How the models are doing, over all processes: the configured ones and those asked in the last five minutes. */
  statuses(): Promise<readonly ModelStatus[]>
  /** Aborts the calls that run, later ones fail at once; resolves when all is settled that could be. */
  close(): Promise<void>
}

export type CallOptions = {
  signal: AbortSignal
  /** Whose limits and budgets count; none by default. */
  scopes?: readonly CallScope[]
}

export type AiClientOptions = {
  providers: readonly ProviderConfig[]
  /** Used by a request that names none. Empty: the demo. */
  defaultModels: readonly ModelName[]
  /** `fast` → `openai/gpt-5-mini-2025-08-07`. */
  aliases: Readonly<Record<string, ModelName>>
  /**
   * For all models. What is left out is the default of the model's kind (defaultTimeouts, or reasoningModelTimeouts for
   * models that think before they speak), so pass what was configured and no defaults.
   */
  timeouts: Partial<AiTimeouts>
  /** By "provider/model"; goes before the provider's and the general ones. */
  modelTimeouts?: Readonly<Record<ModelName, Partial<AiTimeouts>>>
  /** By "provider/model"; goes before the table that comes with the program. */
  prices?: Readonly<Record<ModelName, ModelPrice>>
  /** Between two tokens of the demo. */
  demoTokenDelayMs?: number
  /** Default: those of this process. Whoever gives some closes them, after the client. */
  breakers?: CircuitBreakers
  /** Default: those of this process. Whoever gives some closes them, after the client. */
  rateLimits?: RateLimits
  /** By "provider/model", besides that of the provider. */
  modelRateLimits?: Readonly<Record<ModelName, RateLimit>>
  /** Of every workspace that has none of its own. */
  workspaceRateLimit?: RateLimit
  /** Where processes tell each other what they have counted; default: nowhere. */
  board?: FiguresBoard
  /** What decides, in this order and after breakers and rate limits, whether a call upstream may be made: see AttemptGate. */
  gates?: readonly AttemptGate[]
  /** Where answers are remembered, and for how long by default, in milliseconds (0: only when a call asks for it). Absent: nowhere. */
  responses?: { cache: Cache; defaultTtlMs: number }
  clock: Clock
  newId: NewId
  /** In [0, 1). */
  random: () => number
  logger: Logger
}

/** Throws a plain Error for providers, aliases or defaults that contradict each other. Opens no connection. */
export function createAiClient(options: AiClientOptions): AiClient {
  const { clock, newId, random, logger } = options
  const outputSchemas = createOutputSchemas()
  const connections = createConnectionWatch()
  const http = createHttpFetch({ onSent: (headers) => connections.sent(headers) })
  const demo = createDemoProvider({ tokenDelayMs: options.demoTokenDelayMs ?? demoTokenDelayMs, outputSchemas })
  const providers = new Map([[demoProviderName, demo]])
  for (const config of options.providers) {
    if (providers.has(config.name)) throw new Error(`the provider name "${config.name}" is taken`)
    providers.set(config.name, createProvider(config, http))
  }
  const directory = createModelDirectory({
    providers: [...providers.keys()],
    aliases: options.aliases,
    defaultModels: options.defaultModels.length === 0 ? [demoModelName] : options.defaultModels,
  })
  const timeoutsOf = createTimeoutLookup({
    timeouts: options.timeouts,
    ofProviders: Object.fromEntries(options.providers.map(({ name, timeouts }) => [name, timeouts ?? {}])),
    ofModels: options.modelTimeouts ?? {},
  })
  const pricing = createPricing({
    providers: options.providers,
    overrides: { ...options.prices, [demoModelName]: { inputUsd: 0, cachedInputUsd: 0, outputUsd: 0 } },
  })
  const memory = createEndpointMemory()
  const background = createBackgroundWork({ logger })
  const responses =
    options.responses === undefined
      ? null
      : createResponseCache({ ...options.responses, clock, newId, random, background })
  const breakers = options.breakers ?? createInProcessCircuitBreakers({ clock, newId })
  const figures = createModelFigures({ clock })
  const board = options.board ?? null
  const counting = createFiguresGate({ figures, board, background })
  const gates = [
    counting,
    createBreakerGate({ breakers, background, logger }),
    createLimitGate(options, background),
    ...(options.gates ?? []),
  ]
  const gate = composeGates(gates, { logger })
  const statusDeps = { directory, providers, breakers, pricing, figures, board, clock }
  const chainDeps = { clock, newId, random, logger, pricing, memory, connections, gate, responses }
  const calls = new Set<CallControl>()
  let isClosed = false

  // What a name means does not change while the client lives.
  const known = new LRUCache<ModelName, Hop>({ max: maxKnownHops })

  function hopOf(model: ResolvedModel): Hop[] {
    const asked = model.alias ?? model.name
    const found = known.get(asked)
    if (found !== undefined) return [found]
    const provider = providers.get(model.provider)
    if (provider === undefined) return []
    const hop = { model, provider, timeouts: timeoutsOf(model) }
    known.set(asked, hop)
    return [hop]
  }

  function begin(request: ModelRequest, { signal, scopes = [] }: CallOptions): BegunCall {
    const hops = reachable(directory, request.models, logger).flatMap(hopOf)
    const outputSchema = request.outputSchema === null ? null : outputSchemas.compile(request.outputSchema)
    const call = createCallControl()
    const abort = (): void => call.abort(signal.reason)
    if (isClosed) call.abort(new Error('the AI client is closed'))
    if (signal.aborted) abort()
    signal.addEventListener('abort', abort, { once: true })
    calls.add(call)
    return {
      options: { hops, request, outputSchema, scopes, signal: call.signal },
      leave() {
        signal.removeEventListener('abort', abort)
        calls.delete(call)
      },
    }
  }

  return {
    stream: (request, callOptions) => runChain(chainDeps, () => begin(request, callOptions)),
    resolve: (models, field) => directory.resolve(models, field),
    compileOutputSchema: (schema, field) => outputSchemas.compile(schema, field),
    statuses: () => modelStatuses(statusDeps),
    async close() {
      isClosed = true
      counting.stop()
      for (const call of calls) call.abort(new Error('the AI client is closed'))
      await background.settled()
      http.close()
    },
  }
}

const maxKnownHops = 500
const noLimit: RateLimit = { requestsPerMinute: null, tokensPerMinute: null }

function createLimitGate(options: AiClientOptions, background: BackgroundWork): AttemptGate {
  const { providers, clock } = options
  const ofProviders = providers.flatMap(({ name, rateLimit }) =>
    rateLimit === undefined ? [] : [[name, rateLimit] as const],
  )
  return createRateLimitGate({
    limits: options.rateLimits ?? createInProcessRateLimits({ clock }),
    background,
    ofProviders: Object.fromEntries(ofProviders),
    ofModels: options.modelRateLimits ?? {},
    ofWorkspaces: options.workspaceRateLimit ?? noLimit,
  })
}

/**
 * The models that can be asked now. A provider may have gone from the configuration since the names were accepted: the
 * others of the chain go on without it; only when none is left there is nobody to ask.
 */
function reachable(directory: ModelDirectory, names: readonly ModelName[], logger: Logger): readonly ResolvedModel[] {
  if (names.length === 0 || names.length > maxModelsPerCall) return directory.resolve(names)
  const found = new Map<ModelName, ResolvedModel>()
  const unknown: ModelName[] = []
  for (const name of names) {
    const model = directory.find(name)
    if (model === null) unknown.push(name)
    else if (!found.has(model.name)) found.set(model.name, model)
  }
  if (found.size === 0) throw unknownModels(unknown)
  if (unknown.length > 0)
    logger.warn({ models: unknown }, 'models of a chain are skipped: their provider is not configured')
  return [...found.values()]
}

function unknownModels(names: readonly ModelName[]): AiError {
  return new AiError(`There is no provider for ${names.join(', ')}.`, {
    kind: 'unknown_model',
    retryable: false,
    retryAfterMs: null,
    partialText: '',
    attempts: [],
  })
}
