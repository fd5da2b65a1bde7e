import type { Bucket, RateLimits, Take } from '../platform/rate-limit/rate-limit.ts'
import { admitted, type AttemptEnd, type AttemptGate, type AttemptPlan, type Refusal } from './admission.ts'
import type { BackgroundWork } from './background-work.ts'
import type { ModelName, RateLimit } from './model-call.ts'

/** What is reserved for an answer whose length nobody limits. What it is in the end is corrected afterwards. */
export const unlimitedOutputTokens = 4_096

export type RateLimitGateDeps = {
  limits: RateLimits
  background: BackgroundWork
  /** Of the key, all its models together. */
  ofProviders: Readonly<Record<string, RateLimit>>
  /** By "provider/model". */
  ofModels: Readonly<Record<ModelName, RateLimit>>
  /** Of each workspace; an own limit of a scope goes before it. */
  ofWorkspaces: RateLimit
}

type Reservation = { buckets: readonly Bucket[]; tokens: number }
/** A bucket, and what to say of it when it is empty. */
type Limited = Bucket & { class: Refusal['class']; whose: string }

/** Requests and tokens a minute: of a provider's key, a model, an agent and a workspace, taken together in one step. */
export function createRateLimitGate(deps: RateLimitGateDeps): AttemptGate {
  const { limits, background } = deps
  const reservations = new Map<string, Reservation>()

  return {
    async admit(plan) {
      const buckets = bucketsOf(plan, deps)
      if (buckets.length === 0) return admitted
      const tokens = plan.size.estimatedInputTokens() + (plan.size.maxOutputTokens ?? unlimitedOutputTokens)
      const take = await limits.take(buckets, tokens)
      if (!take.ok) return { kind: 'refused', refusal: refusalOf(buckets, take) }
      reservations.set(plan.id, { buckets, tokens })
      return admitted
    },
    async settle(plan, end) {
      const reservation = reservations.get(plan.id)
      if (reservation === undefined) return
      reservations.delete(plan.id)
      const correction = correctionOf(reservation, end)
      if (correction.requests === 0 && correction.tokens === 0) return
      background.start('a rate limit could not be corrected', limits.correct(reservation.buckets, correction))
    },
  }
}

function bucketsOf({ provider, model, scopes }: AttemptPlan, deps: RateLimitGateDeps): readonly Limited[] {
  const buckets: Limited[] = []
  const keyName = `${provider.name}:${provider.keyId}`
  const ofKey = deps.ofProviders[provider.name]
  if (isLimit(ofKey))
    buckets.push({ key: `key:${keyName}`, ...ofKey, class: 'provider', whose: `the provider ${provider.name}` })
  const ofModel = deps.ofModels[model.name]
  if (isLimit(ofModel))
    buckets.push({
      key: `model:${keyName}:${model.model}`,
      ...ofModel,
      class: 'provider',
      whose: `the model ${model.name}`,
    })
  for (const { kind, id, rateLimit } of scopes) {
    const limit = isLimit(rateLimit) || kind !== 'workspace' ? rateLimit : deps.ofWorkspaces
    if (isLimit(limit)) buckets.push({ key: `${kind}:${id}`, ...limit, class: 'scope', whose: `the ${kind}` })
  }
  return buckets
}

function isLimit(limit: RateLimit | undefined): limit is RateLimit {
  return limit !== undefined && (limit.requestsPerMinute !== null || limit.tokensPerMinute !== null)
}

function correctionOf({ tokens }: Reservation, end: AttemptEnd): { requests: number; tokens: number } {
  if (end.kind === 'not_sent') return { requests: 1, tokens }
  const { usage } = end.record
  // The provider counts a request that it refused, too; tokens only of those it took.
  return { requests: 0, tokens: usage === null ? tokens : tokens - usage.inputTokens - usage.outputTokens }
}

function refusalOf(
  buckets: readonly Limited[],
  { bucket, lacks, retryAfterMs }: Extract<Take, { ok: false }>,
): Refusal {
  const limited = buckets[bucket]
  if (limited === undefined) throw new RangeError(`there is no bucket ${String(bucket)}`)
  const size = lacks === 'requests' ? limited.requestsPerMinute : limited.tokensPerMinute
  return {
    class: limited.class,
    outcome: limited.class === 'scope' ? 'rate_limit_exceeded' : 'provider_limited',
    message: `The limit of ${limited.whose} is used up: ${String(size)} ${size === 1 ? lacks.slice(0, -1) : lacks} a minute`,
    retryAfterMs,
  }
}
