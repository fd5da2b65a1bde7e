import type { Admission } from '../../src/graphql/admission.ts'
import type { HttpServerOptions } from '../../src/http/server.ts'

/** A server's options without any limit that a test could meet by chance. */
export function testHttpOptions(overrides: Partial<HttpServerOptions> = {}): HttpServerOptions {
  return {
    servesApi: true,
    publicOrigins: [],
    trustedProxies: [],
    graphiql: false,
    maxBodyBytes: 1024,
    operations: {
      executionMs: 60_000,
      documents: {
        limits: { depth: 10, tokens: 2_000, aliases: 15, directives: 8, rootFields: 10, fields: 500 },
        introspection: true,
        persisted: null,
      },
    },
    liveConnections: { maxPerAsker: 1_000, exemptsLoopback: true },
    ...overrides,
  }
}

/** Lets everything in. */
export const openAdmission: Admission = {
  request: () => Promise.resolve(),
  cost: (_asker, requested) => Promise.resolve({ requested, maximum: 1_000_000 }),
}
