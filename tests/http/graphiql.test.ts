import { parse, validate } from 'graphql'
import { afterAll, describe, expect, test } from 'vitest'
import { createLoaders } from '../../src/graphql/create-loaders.ts'
import { createSchema } from '../../src/graphql/schema.ts'
import { examples } from '../../src/http/graphiql-examples.ts'
import { createHttpServer } from '../../src/http/server.ts'
import { newId } from '../../src/lib/ids.ts'
import { openAdmission, testHttpOptions } from '../support/http-options.ts'
import { startTestApp } from '../support/test-app.ts'

const app = await startTestApp()
afterAll(() => app[Symbol.asyncDispose]())

const browser = { accept: 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8' }

describe('GraphiQL', () => {
  test('is what a browser gets', async () => {
    const response = await app.request('/graphql', { headers: browser })
    const page = await response.text()
    expect([response.status, response.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8'])
    for (const { query } of examples) expect(page).toContain(JSON.stringify(query))
  })

  test('may reach nothing but this server', async () => {
    const { headers } = await app.request('/graphql', { headers: browser })
    const policy = headers.get('content-security-policy') ?? ''
    expect(policy).toContain("default-src 'none'")
    expect(policy).toContain("connect-src 'self'")
    expect(policy).not.toMatch(/https?:|\*/)
    expect(/script-src ([^;]*)/.exec(policy)?.[1]).toMatch(/^('sha256-[\w+/]{43}=' )+blob:$/)
  })

  test('is not there when it is off', async () => {
    const server = createHttpServer(
      { schema: createSchema(), services: app.services, createLoaders, admission: openAdmission, newId },
      testHttpOptions(),
    )
    const { url } = await server.listen({ host: '127.0.0.1', port: 0 })
    const response = await fetch(`${url}/graphql`, { headers: browser })
    expect([response.status, await response.json()]).toMatchObject([
      405,
      { errors: [{ extensions: { code: 'METHOD_NOT_ALLOWED' } }] },
    ])
    await server.close(0)
  })
})

test.each(examples.map(({ query }) => [/^\w+ (\w+)/m.exec(query)?.[1], query]))(
  'the example %s is valid',
  (_name, query) => {
    expect(validate(createSchema(), parse(query ?? ''))).toEqual([])
  },
)
