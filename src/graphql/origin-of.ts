import type { RequestOrigin } from '../features/audit/request-origin.ts'
import type { GraphQLContext } from './context.ts'

/** Where the operation came from, as services record it. */
export function originOf({ client, requestId, viewer }: GraphQLContext): RequestOrigin {
  const apiKey = viewer?.apiKey
  return { ip: client.ip, requestId, ...(apiKey !== undefined && { apiKeyId: apiKey.id }) }
}
