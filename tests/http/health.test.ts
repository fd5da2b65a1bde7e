import { afterAll, expect, test } from 'vitest'
import { createLoaders } from '../../src/graphql/create-loaders.ts'
import { createSchema } from '../../src/graphql/schema.ts'
import { checkReadiness } from '../../src/http/health.ts'
import { createHttpServer } from '../../src/http/server.ts'
import { newId } from '../../src/lib/ids.ts'
import { openAdmission, testHttpOptions } from '../support/http-options.ts'
import { startTestApp } from '../support/test-app.ts'
import { startTestDatabase } from '../support/test-database.ts'

const app = await startTestApp()
afterAll(() => app[Symbol.asyncDispose]())

test('lives, but is not ready, without its database', async () => {
  await using db = await startTestDatabase()
  const server = createHttpServer(
    { schema: createSchema(), services: { ...app.services, db }, createLoaders, admission: openAdmission, newId },
    testHttpOptions(),
  )
  const { url } = await server.listen({ host: '127.0.0.1', port: 0 })
  await db.close()
  const ready = await fetch(`${url}/health/ready`)
  expect([ready.status, await ready.json()]).toEqual([
    503,
    { status: 'DOWN', checks: [{ name: 'database', status: 'DOWN' }] },
  ])
  expect((await fetch(`${url}/health/live`)).status).toBe(200)
  await server.close(0)
})

test('does not wait longer for the database than it is told to', async () => {
  const since = performance.now()
  const readiness = await checkReadiness({ ping: () => new Promise(() => undefined) }, 50)
  expect(readiness.status).toBe('DOWN')
  expect(performance.now() - since).toBeLessThan(10_000)
})
