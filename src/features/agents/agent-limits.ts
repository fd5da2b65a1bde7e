/** What an agent gets when the caller does not say. */
export const agentDefaults = {
  concurrency: 10,
  maxAttempts: 3,
  retryInitialDelayMs: 1_000,
  retryMaxDelayMs: 60_000,
  timeoutMs: 600_000,
  crashPolicy: 'RETRY',
} as const

/** What an agent's definition may be. Lengths are in characters, sizes in bytes of UTF-8. */
export const agentLimits = {
  nameLength: 100,
  descriptionLength: 2_000,
  instructionsBytes: 65_536,
  models: 8,
  modelNameLength: 200,
  temperature: { min: 0, max: 2 },
  maxOutputTokens: { min: 1, max: 1_000_000 },
  outputSchemaBytes: 32_768,
  concurrency: { min: 1, max: 1_000 },
  maxAttempts: { min: 1, max: 20 },
  initialDelayMs: { min: 0, max: 600_000 },
  maxDelayMs: { min: 0, max: 86_400_000 },
  requestsPerMinute: { min: 1, max: 1_000_000 },
  tokensPerMinute: { min: 1, max: 1_000_000_000 },
  timeoutMs: { min: 1_000, max: 3_600_000 },
  stateBytes: 65_536,
} as const
