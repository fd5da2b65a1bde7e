import type { Clock } from '../lib/clock.ts'
import { histogramQuantile } from '../lib/log-histogram.ts'
import type { BreakerStatus, CircuitBreakers } from '../platform/circuit-breaker/circuit-breaker.ts'
import { breakerKey } from './breaker-gate.ts'
import { figuresWindowMs, mergeFigures, noFigures, type ModelFiguresRecorder } from './model-figures.ts'
import type { ModelName } from './model-call.ts'
import type { ModelDirectory, ResolvedModel } from './model-directory.ts'
import type { Pricing } from './pricing.ts'
import type { Provider } from './provider.ts'

/** How a model is doing, over all processes. The figures are of the last five minutes. */
export type ModelStatus = {
  name: ModelName
  provider: string
  /** What the provider said last had answered. */
  version: string | null
  aliases: readonly string[]
  state: 'AVAILABLE' | 'COOLING_DOWN' | 'OPEN' | 'PROBING'
  /** Why it is not available. */
  reason: string | null
  availableAt: Date | null
  requestsPerMinute: number
  /** Of the calls, 0 to 1. */
  errorRate: number
  timeToFirstTokenP50Ms: number | null
  timeToFirstTokenP99Ms: number | null
  tokensPerSecondP50: number | null
  /** What ninety-nine in a hundred answers were faster than. */
  tokensPerSecondP99: number | null
  inputUsdPerMillion: number | null
  outputUsdPerMillion: number | null
  /** At the pace of the last five minutes. */
  costUsdPerHour: number
}

/** Where each process pins what it has counted, for all to read. */
export interface FiguresBoard {
  /** Replaces what this process pinned before. Never throws. */
  pin(note: string): Promise<void>
  /** What the other processes pinned in the last five minutes; nothing when they cannot be asked. */
  read(): Promise<readonly string[]>
}

export type ModelStatusDeps = {
  directory: ModelDirectory
  providers: ReadonlyMap<string, Provider>
  breakers: CircuitBreakers
  pricing: Pricing
  figures: ModelFiguresRecorder
  board: FiguresBoard | null
  clock: Clock
}

const minutesInWindow = figuresWindowMs / 60_000
const nanoUsdPerUsd = 1e9

/** The configured models and those that were asked in the last five minutes, by name. */
export async function modelStatuses(deps: ModelStatusDeps): Promise<readonly ModelStatus[]> {
  const { directory, providers, breakers, pricing, figures, board, clock } = deps
  const now = clock.now()
  const merged = mergeFigures([figures.note(), ...((await board?.read()) ?? [])], now)
  const models = new Map<ModelName, ResolvedModel>()
  for (const name of [...directory.configured(), ...merged.keys()]) {
    const model = directory.find(name)
    if (model !== null) models.set(model.name, model)
  }
  const known = [...models.values()].toSorted((one, other) => (one.name < other.name ? -1 : 1))
  const states = await breakers.inspect(
    known.map(({ provider, model }) => breakerKey(providers.get(provider) ?? { name: provider, keyId: '' }, model)),
  )
  return known.map((model, index) => {
    const { version, requests, errors, costNanoUsd, timeToFirstToken, tokensPerSecond } =
      merged.get(model.name) ?? noFigures()
    const { state, reason, availableAt } = stateOf(states[index], now)
    return {
      name: model.name,
      provider: model.provider,
      version,
      aliases: directory.aliasesOf(model.name),
      state,
      reason,
      availableAt,
      requestsPerMinute: requests / minutesInWindow,
      errorRate: requests === 0 ? 0 : errors / requests,
      timeToFirstTokenP50Ms: histogramQuantile(timeToFirstToken, 0.5),
      timeToFirstTokenP99Ms: histogramQuantile(timeToFirstToken, 0.99),
      tokensPerSecondP50: histogramQuantile(tokensPerSecond, 0.5),
      tokensPerSecondP99: histogramQuantile(tokensPerSecond, 0.01),
      inputUsdPerMillion: usdPerMillion(pricing, model, { at: now, of: 'input' }),
      outputUsdPerMillion: usdPerMillion(pricing, model, { at: now, of: 'output' }),
      costUsdPerHour: (costNanoUsd / nanoUsdPerUsd) * (60 / minutesInWindow),
    }
  })
}

function stateOf(status: BreakerStatus | undefined, now: Date): Pick<ModelStatus, 'state' | 'reason' | 'availableAt'> {
  if (status === undefined || status.state === 'CLOSED') return { state: 'AVAILABLE', reason: null, availableAt: null }
  const { state, reason, availableInMs } = status
  return { state, reason, availableAt: availableInMs === null ? null : new Date(now.getTime() + availableInMs) }
}

/** Of a small call: some models charge more for long prompts. */
const pricedTokens = 1_000

function usdPerMillion(
  pricing: Pricing,
  model: ResolvedModel,
  { at, of }: { at: Date; of: 'input' | 'output' },
): number | null {
  const usage = {
    inputTokens: of === 'input' ? pricedTokens : 0,
    cachedInputTokens: 0,
    outputTokens: of === 'output' ? pricedTokens : 0,
    reasoningTokens: 0,
  }
  const cost = pricing.costNanoUsd(model, usage, at)
  return cost === null ? null : (Number(cost) / nanoUsdPerUsd) * (1_000_000 / pricedTokens)
}
