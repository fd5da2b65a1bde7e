import { calcPrice, findProvider, type Provider } from '@pydantic/genai-prices'
import { LRUCache } from 'lru-cache'
import type { ReportedUsage } from './chat-chunk.ts'
import type { ModelName } from './model-call.ts'
import type { ResolvedModel } from './model-directory.ts'

/** What a model costs, in US dollars for a million tokens. */
export type ModelPrice = {
  inputUsd: number
  /** Null: cached input costs what other input costs. */
  cachedInputUsd: number | null
  outputUsd: number
}

/** Knows what tokens cost. */
export interface Pricing {
  /** In nano-USD, rounded to the nearest; null when the price of the model is not known (which is not zero). */
  costNanoUsd(model: ResolvedModel, usage: ReportedUsage, at: Date): bigint | null
}

const nanoUsdPerUsd = 1e9
const maxFoundModels = 500
const tokensPerPrice = 1e6

/**
 * Our own table first, then the one that comes with `@pydantic/genai-prices`. That is data inside the package: it
 * fetches nothing unless `updatePrices` is called, and nothing here calls it. Its provider is found by ours' name, else
 * by its base URL.
 */
export function createPricing(options: {
  providers: readonly { name: string; baseUrl: string | null }[]
  /** By "provider/model". */
  overrides: Readonly<Record<ModelName, ModelPrice>>
}): Pricing {
  const { overrides } = options
  const listed = new Map<string, Provider | undefined>(
    options.providers.map(({ name, baseUrl }) => [
      name,
      findProvider({ providerId: name }) ??
        (baseUrl === null ? findProvider({ providerId: 'openai' }) : findProvider({ providerApiUrl: baseUrl })),
    ]),
  )
  const found = new LRUCache<ModelName, { provider: Provider | null }>({ max: maxFoundModels })

  /** The provider with nothing but the price of this model in it, or null: a search through all of them takes 0.06 ms. */
  function providerOf({ name, provider, model }: ResolvedModel): Provider | null {
    const known = found.get(name)
    if (known !== undefined) return known.provider
    const all = listed.get(provider)
    const match = all === undefined ? null : calcPrice({ input_tokens: 0 }, model, { provider: all })
    const only = match === null ? null : { ...match.provider, models: [match.model] }
    found.set(name, { provider: only })
    return only
  }

  return {
    costNanoUsd(model, usage, at) {
      const own = overrides[model.name]
      if (own !== undefined) return costAt(own, usage)
      const provider = providerOf(model)
      if (provider === null) return null
      const counts = {
        input_tokens: usage.inputTokens,
        cache_read_tokens: usage.cachedInputTokens,
        output_tokens: usage.outputTokens,
      }
      const price = calcPrice(counts, model.model, { provider, timestamp: at })
      return price === null ? null : BigInt(Math.round(price.total_price * nanoUsdPerUsd))
    },
  }
}

// Reasoning tokens are inside the output and cost the same.
function costAt(price: ModelPrice, usage: ReportedUsage): bigint {
  const usd =
    (usage.inputTokens - usage.cachedInputTokens) * price.inputUsd +
    usage.cachedInputTokens * (price.cachedInputUsd ?? price.inputUsd) +
    usage.outputTokens * price.outputUsd
  return BigInt(Math.round(usd * (nanoUsdPerUsd / tokensPerPrice)))
}
