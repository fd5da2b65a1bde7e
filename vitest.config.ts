import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { defineConfig, type ViteUserConfig } from 'vitest/config'

export type SuiteOptions = { globalSetup: string[]; exclude: string[]; passWithNoTests: boolean }

// Its fields stay in the schema of the worker that has imported it, so these files share theirs with no others.
const withTestFields = readdirSync('tests', { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.test.ts'))
  .map((path) => join('tests', path))
  .filter((path) => readFileSync(path, 'utf8').includes('/support/graphql-test-fields.ts'))

/** Test files that share workers, and in them the modules and the embedded databases: both take 2 s of the processor when they are new. */
export function sharedWorkers({ globalSetup, exclude, passWithNoTests }: SuiteOptions): ViteUserConfig {
  const project = {
    // Node takes graphql's CommonJS form, Vite would take the other for our own files: two graphqls refuse each other's types.
    resolve: { alias: [{ find: /^graphql$/, replacement: 'graphql/index.js' }] },
    test: {
      pool: 'forks',
      isolate: false,
      testTimeout: 60_000,
      hookTimeout: 60_000,
      // Real servers on a machine that may be shared. A second try shows in the report; what fails twice is broken.
      retry: process.env['CI'] === undefined ? 0 : 1,
    },
  } as const
  return defineConfig({
    test: {
      globalSetup,
      passWithNoTests,
      // Half of its time a test waits: four keep two processors busy. Each takes up to 700 MB.
      maxWorkers: 4,
      projects: [
        {
          ...project,
          test: {
            ...project.test,
            name: 'app',
            include: ['tests/**/*.test.ts'],
            exclude: [...exclude, ...withTestFields],
          },
        },
        {
          ...project,
          test: {
            ...project.test,
            name: 'app with test fields',
            include: withTestFields,
            exclude,
          },
        },
      ],
    },
  })
}

export default sharedWorkers({
  globalSetup: ['tests/support/template-database.ts'],
  // Real processes, servers and browsers for minutes: scripts of their own.
  exclude: ['tests/faults/**', 'tests/browser/**'],
  passWithNoTests: false,
})
