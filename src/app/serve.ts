import type { Config } from '../config.ts'
import { createAdmission } from '../graphql/admission.ts'
import type { Services } from '../graphql/context.ts'
import { createLoaders } from '../graphql/create-loaders.ts'
import { loadPersistedDocuments } from '../graphql/persisted-documents.ts'
import { createSchema } from '../graphql/schema.ts'
import { createHttpServer, type HttpServer, type HttpServerOptions } from '../http/server.ts'
import type { NewId } from '../lib/ids.ts'
import type { Throttles } from '../platform/throttle/throttles.ts'

export type ServeDeps = { services: Services; throttles: Throttles; newId: NewId }

/** No reason to ask for more has been found, so nobody can set them. */
const fixedDocumentLimits = { directives: 8, rootFields: 10, fields: 500 }

/** The HTTP server as the configuration describes it. Throws PersistedDocumentsError. */
export async function createConfiguredServer(
  config: Config,
  { services, throttles, newId }: ServeDeps,
): Promise<HttpServer> {
  const { limits } = config
  const exemptsLoopback = config.environment !== 'production'
  const admission = createAdmission(throttles, { ...limits, exemptsLoopback })
  return createHttpServer(
    { schema: createSchema(), services, createLoaders, admission, newId },
    { ...(await httpOptions(config)), liveConnections: { maxPerAsker: limits.socketsPerUser, exemptsLoopback } },
  )
}

async function httpOptions(config: Config): Promise<Omit<HttpServerOptions, 'liveConnections'>> {
  const { limits, persistedDocuments } = config
  return {
    servesApi: config.roles.includes('api'),
    publicOrigins: config.publicOrigins,
    trustedProxies: config.trustedProxies,
    graphiql: config.graphiql,
    maxBodyBytes: limits.bodyBytes,
    operations: {
      executionMs: limits.executionMs,
      documents: {
        limits: { ...fixedDocumentLimits, depth: limits.depth, tokens: limits.tokens, aliases: limits.aliases },
        introspection: config.introspection,
        persisted: persistedDocuments === null ? null : await loadPersistedDocuments(persistedDocuments),
      },
    },
    webSockets: {
      maxFrameBytes: limits.socketFrameBytes,
      maxSubscriptions: limits.subscriptionsPerSocket,
      maxMessagesPerSecond: limits.socketMessagesPerSecond,
    },
  }
}
