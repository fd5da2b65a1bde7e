import { GraphQLError, GraphQLScalarType, type ConstValueNode, type ValueNode } from 'graphql'
import { GraphQLDateTime, GraphQLJSON, GraphQLSafeInt } from 'graphql-scalars'

const maxJsonDepth = 32
const earliest = Date.UTC(1, 0, 1)

/** A scalar's own reason to refuse a value. Its message never contains the value, so it may be shown. */
export class ScalarInputError extends GraphQLError {}

/** GraphQL's DateTime within the years that Postgres and RFC 3339 share. */
export const DateTimeScalar = new GraphQLScalarType<Date, Date>({
  ...GraphQLDateTime.toConfig(),
  description: 'A point in time, as RFC 3339 writes it: 2026-01-31T09:30:00.000Z.',
  parseValue: (value) => inRange(() => GraphQLDateTime.parseValue(value)),
  parseLiteral: (node) => inRange(() => GraphQLDateTime.parseLiteral(node)),
})

/** Any JSON value, bounded in depth and without keys that could reach a prototype. */
export const JsonScalar = new GraphQLScalarType<unknown, unknown>({
  name: 'JSON',
  description: `Any JSON value (ECMA-404), at most ${maxJsonDepth} levels deep.`,
  specifiedByURL: 'https://ecma-international.org/publications-and-standards/standards/ecma-404/',
  serialize: (value) => value,
  parseValue: (value) => checked(value),
  parseLiteral: (node: ValueNode | ConstValueNode, variables) => checked(GraphQLJSON.parseLiteral(node, variables)),
})

export const SafeIntScalar = new GraphQLScalarType({
  ...GraphQLSafeInt.toConfig(),
  description: 'A whole number between -(2^53 - 1) and 2^53 - 1.',
})

function inRange(parse: () => Date): Date {
  const date = parse()
  // Year 0 is valid RFC 3339, but Postgres has no such year.
  if (date.getTime() < earliest) throw new ScalarInputError('The year must be between 0001 and 9999.')
  return date
}

function checked(value: unknown, depth = 0): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (depth >= maxJsonDepth) throw new ScalarInputError(`JSON may be at most ${maxJsonDepth} levels deep.`)
  for (const [key, member] of Object.entries(value)) {
    if (reachesPrototype(key, member)) throw new ScalarInputError('JSON may not contain keys that name a prototype.')
    checked(member, depth + 1)
  }
  return value
}

// `constructor` and `prototype` are ordinary words on their own; only together do they lead to a prototype.
function reachesPrototype(key: string, member: unknown): boolean {
  if (key === '__proto__') return true
  return key === 'constructor' && typeof member === 'object' && member !== null && 'prototype' in member
}
