import { defineConfig } from 'vitest/config'

/** Real processes that are killed: `npm run test:faults`, after `npm run build`. One file at a time, because they measure time. */
export default defineConfig({
  test: {
    include: ['tests/faults/**/*.test.ts'],
    pool: 'forks',
    fileParallelism: false,
    // Some start six processes, on machines that may be slow.
    testTimeout: 300_000,
    hookTimeout: 120_000,
    retry: process.env['CI'] === undefined ? 0 : 1,
    passWithNoTests: false,
  },
})
