/** How long a call may be silent, in milliseconds. */
export type AiTimeouts = {
  /** Until there is a connection that the request can go out over: the name, TCP and TLS. */
  connectMs: number
  /**
   * From there, counted from the same beginning, to the first token of any kind (reasoning counts, a role alone does
   * not).
   */
  firstTokenMs: number
  /** Between two parsed chunks after the first token; comments do not count. */
  idleMs: number
  /** The deadline of the whole call, over all models, retries and waits. */
  totalMs: number
}

export const defaultTimeouts: AiTimeouts = { connectMs: 5_000, firstTokenMs: 10_000, idleMs: 10_000, totalMs: 600_000 }

/**
 * Models that think before they say anything, and do not stream what they think: the default where nothing is
 * configured.
 */
export const reasoningModelTimeouts: AiTimeouts = { ...defaultTimeouts, firstTokenMs: 120_000, idleMs: 30_000 }

// The model's own name, behind any prefix a router puts before it: o3, o4-mini, gpt-5-mini, deepseek-reasoner,
// openai/gpt-5.
const reasoningModel = /(^|\/)(o\d+(-|$)|gpt-[5-9](?!.*chat)|deepseek-reasoner|deepseek-r\d)/i

/**
 * Finds the time-outs of a model: what is set for it, else for its provider, else for all, else the default of its
 * kind.
 */
export function createTimeoutLookup(options: {
  timeouts: Partial<AiTimeouts>
  /** By provider. */
  ofProviders: Readonly<Record<string, Partial<AiTimeouts>>>
  /** By "provider/model". */
  ofModels: Readonly<Record<string, Partial<AiTimeouts>>>
}): (model: { name: string; provider: string; model: string }) => AiTimeouts {
  const { timeouts, ofProviders, ofModels } = options
  return ({ name, provider, model }) => ({
    ...(reasoningModel.test(model) ? reasoningModelTimeouts : defaultTimeouts),
    ...timeouts,
    ...ofProviders[provider],
    ...ofModels[name],
  })
}
