import { auditServer } from 'graphql-http'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startTestApp, type TestApp } from '../support/test-app.ts'

let app: TestApp
beforeAll(async () => {
  app = await startTestApp()
})
afterAll(() => app[Symbol.asyncDispose]())

/** https://graphql.github.io/graphql-over-http/draft/, as its authors test it. */
test('GraphQL over HTTP: everything that a server MUST and SHOULD do', async () => {
  const results = await auditServer({ url: `${app.url}/graphql` })
  const failures = results.filter(({ name, status }) => status !== 'ok' && !name.startsWith('MAY'))
  expect(results.length).toBeGreaterThan(50)
  expect(failures.map(({ id, name }) => `${id} ${name}`)).toEqual([])
})
