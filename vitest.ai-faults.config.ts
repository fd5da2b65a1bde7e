import { defineConfig } from 'vitest/config'

/**
 * Every fault of a provider that the AI client promises to get right, over real sockets: `npm run test:ai-faults`, within three minutes. All of it is in
 * `npm test` as well; alone it needs no database, and its files run side by side.
 */
export default defineConfig({
  test: {
    include: ['tests/ai/**/*.test.ts', 'tests/platform/{circuit-breaker,rate-limit}/**/*.test.ts'],
    pool: 'forks',
    testTimeout: 30_000,
    hookTimeout: 30_000,
    passWithNoTests: false,
  },
})
