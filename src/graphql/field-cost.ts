import { isListType, isNonNullType, type GraphQLField, type GraphQLOutputType } from 'graphql'
import { defaultPageSize } from '../lib/keyset-page.ts'

/** What a field costs, and how often what is below it is paid. */
export type FieldCost = { field: number; multiplier: number }

// Attempts, members, models: a few each. Lists that grow are connections, and say how much of them is asked for.
const assumedListLength = 3

/**
 * The cost of fields that do not say their own: 1, and everything below it as often as it may be there: the size of the page that is asked for
 * (also when it is not said), the number of ids, or three for lists that are short by nature.
 */
export function defaultFieldCost(
  args: Readonly<Record<string, unknown>>,
  _context: object,
  field: GraphQLField<unknown, never, never>,
): FieldCost {
  return { field: 1, multiplier: multiplierOf(args, field) }
}

function multiplierOf(args: Readonly<Record<string, unknown>>, field: GraphQLField<unknown, never, never>): number {
  const { first, last, ids } = args
  if (field.args.some(({ name }) => name === 'first')) {
    const size = typeof first === 'number' ? first : typeof last === 'number' ? last : defaultPageSize
    return Math.max(1, size)
  }
  if (Array.isArray(ids)) return Math.max(1, ids.length)
  // The page's size has been counted where it was asked for.
  if (field.name === 'edges') return 1
  return isList(field.type) ? assumedListLength : 1
}

function isList(type: GraphQLOutputType): boolean {
  return isNonNullType(type) ? isList(type.ofType) : isListType(type)
}
