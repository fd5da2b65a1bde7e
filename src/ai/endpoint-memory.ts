import type { Failure } from './failure.ts'
import type { MaxTokensName, Provider } from './provider.ts'

/** How a request must be put so that this endpoint takes it. */
export type RequestStyle = {
  /** Ask for the usage with the stream. */
  usage: boolean
  /** Ask for structured output; else the schema goes into the instructions. */
  responseFormat: boolean
  maxTokensName: MaxTokensName
}

/** What options endpoints refused, for as long as the process lives: each is tried once, and then left out. */
export interface EndpointMemory {
  styleFor(provider: Provider, model: string): RequestStyle
  /** Learns from a refusal of a request in this style; true when the same request can be asked in another one. */
  learn(provider: Provider, model: string, refusal: { style: RequestStyle; failure: Failure }): boolean
}

const namesOther: Readonly<Record<MaxTokensName, MaxTokensName>> = {
  max_tokens: 'max_completion_tokens',
  max_completion_tokens: 'max_tokens',
}

// A limit that is too large is refused with the same name in the message; only its being unknown is to be learned from.
const unknownParameter =
  /unsupported|not supported|unknown|unrecogni[sz]ed|unexpected|not permitted|not allowed|use '?max_/i

export function createEndpointMemory(): EndpointMemory {
  const refusesUsage = new Set<string>()
  const refusesResponseFormat = new Set<string>()
  const renamed = new Map<string, MaxTokensName>()

  return {
    styleFor(provider, model) {
      const key = `${provider.name}/${model}`
      return {
        usage: !refusesUsage.has(provider.name),
        responseFormat: !refusesResponseFormat.has(key),
        maxTokensName: renamed.get(key) ?? provider.maxTokensName,
      }
    },
    learn(provider, model, { style, failure: { outcome, status, message } }) {
      if (outcome !== 'bad_request' || (status !== 400 && status !== 422)) return false
      const key = `${provider.name}/${model}`
      // What was sent decides, not what is known by now: two calls may be refused at once.
      if (style.usage && /stream_options|include_usage/.test(message)) {
        refusesUsage.add(provider.name)
        return true
      }
      if (style.responseFormat && /response_format|json_schema/.test(message)) {
        refusesResponseFormat.add(key)
        return true
      }
      const isFirstName = style.maxTokensName === provider.maxTokensName
      if (isFirstName && message.includes(style.maxTokensName) && unknownParameter.test(message)) {
        renamed.set(key, namesOther[style.maxTokensName])
        return true
      }
      return false
    },
  }
}
