import { defineConfig } from 'vitest/config'

export default defineConfig({
  // Node takes graphql's CommonJS form, Vite would take the other for our own files: two graphqls refuse each other's types.
  resolve: { alias: [{ find: /^graphql$/, replacement: 'graphql/index.js' }] },
  test: {
    include: ['tests/**/*.test.ts'],
    // Real processes, servers and browsers for minutes: scripts of their own.
    exclude: ['tests/faults/**', 'tests/browser/**'],
    globalSetup: ['tests/support/template-database.ts'],
    pool: 'forks',
    // Each has a database of 300 MB.
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // Real servers on a machine that may be shared. A second try shows in the report; what fails twice is broken.
    retry: process.env['CI'] === undefined ? 0 : 1,
    passWithNoTests: false,
  },
})
