import { defineConfig } from 'vitest/config'

/** The pages in a real browser: `npm run test:browser`, after `npm run build`. */
export default defineConfig({
  test: {
    include: ['tests/browser/**/*.test.ts'],
    pool: 'forks',
    fileParallelism: false,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    retry: process.env['CI'] === undefined ? 0 : 1,
    passWithNoTests: false,
  },
})
