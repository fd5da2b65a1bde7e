import { decodeGlobalID, encodeGlobalID } from '@pothos/plugin-relay'
import { PothosValidationError } from '@pothos/core'
import { isObjectType, type GraphQLSchema } from 'graphql'
import { isUuid } from '../lib/ids.ts'

/**
 * What is wrong with a global id (`Type:uuid` in base64), or null. `types` are those it may name; null: every type that
 * implements Node. The message never repeats the id.
 */
export function globalIdProblem(id: unknown, types: readonly string[] | null, schema: GraphQLSchema): string | null {
  const decoded = decode(String(id))
  if (decoded === null || !isUuid(decoded.id)) return 'This is not an id of this API.'
  if (types === null) return isNodeType(decoded.typename, schema) ? null : 'This is not an id of this API.'
  return types.includes(decoded.typename) ? null : `This is not the id of a ${types.join(' or ')}.`
}

function decode(id: string): { typename: string; id: string } | null {
  try {
    const decoded = decodeGlobalID(id)
    // Only the one form that we give out: base64 has several for the same bytes.
    return encodeGlobalID(decoded.typename, decoded.id) === id ? decoded : null
  } catch (error) {
    if (error instanceof PothosValidationError) return null
    throw error
  }
}

function isNodeType(name: string, schema: GraphQLSchema): boolean {
  const type = schema.getType(name)
  return isObjectType(type) && type.getInterfaces().some((parent) => parent.name === 'Node')
}
