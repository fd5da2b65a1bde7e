import { expect, test } from 'vitest'
import { startTestApp } from '../../support/test-app.ts'

const query = `{ models {
  name provider version aliases state reason availableAt requestsPerMinute errorRate
  timeToFirstTokenP50Ms timeToFirstTokenP99Ms inputUsdPerMillion outputUsdPerMillion
} }`

test('shows everybody who is signed in how the models are doing', async () => {
  await using app = await startTestApp({
    env: { AI_MODEL_ALIASES: 'trial=demo/demo' },
    overrides: { demoTokenDelayMs: 0 },
  })
  const user = await app.signUp()
  await app.data('mutation { complete(input: { prompt: "Hi.", models: ["trial"] }) { text } }', {}, user)

  const { models } = await app.data<{ models: Record<string, unknown>[] }>(query, {}, user)

  expect(models).toEqual([
    {
      name: 'demo/demo',
      provider: 'demo',
      version: 'demo-1',
      aliases: ['trial'],
      state: 'AVAILABLE',
      reason: null,
      availableAt: null,
      requestsPerMinute: 0.2,
      errorRate: 0,
      timeToFirstTokenP50Ms: expect.any(Number),
      timeToFirstTokenP99Ms: expect.any(Number),
      inputUsdPerMillion: 0,
      outputUsdPerMillion: 0,
    },
  ])
  expect((await app.graphql(query)).errors?.[0]?.extensions.code).toBe('UNAUTHENTICATED')
})
