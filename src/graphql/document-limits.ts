import { GraphQLError, Kind, type DocumentNode, type OperationDefinitionNode, type SelectionSetNode } from 'graphql'
import { AppError } from '../lib/errors.ts'
import { credentialFields } from './credentials.ts'
import { fragmentsOf, rootFieldsOf, type Fragments } from './root-fields.ts'

/** What one operation of a document may come to, its fragments written out. */
export type DocumentLimits = {
  /** Levels of fields; introspection (`__schema`, `__type`) counts as one. */
  depth: number
  aliases: number
  directives: number
  rootFields: number
  fields: number
}

type Measure = { depth: number; aliases: number; directives: number; fields: number }

/**
 * What of the document is too much. Looked at before it is validated, because validation itself takes time quadratic in fields; so the document
 * may still be nonsense: fragments that are missing or go in circles count as nothing here, and are refused there.
 */
export function documentLimitErrors(document: DocumentNode, limits: DocumentLimits): GraphQLError[] {
  const fragments = fragmentsOf(document)
  return document.definitions
    .filter((node) => node.kind === Kind.OPERATION_DEFINITION)
    .flatMap((operation) => operationErrors(operation, fragments, limits))
}

function operationErrors(
  operation: OperationDefinitionNode,
  fragments: Fragments,
  limits: DocumentLimits,
): GraphQLError[] {
  const roots = rootFieldsOf(operation.selectionSet, fragments)
  const ownDirectives = [operation, ...(operation.variableDefinitions ?? [])].flatMap((node) => node.directives ?? [])
  const { depth, aliases, directives, fields } = createMeasure(fragments)(operation.selectionSet)
  const found = { depth, aliases, directives: directives + ownDirectives.length, fields, rootFields: roots.length }
  const errors = limitNames
    .filter((name) => found[name] > limits[name])
    .map((name) => tooMuch(operation, { limit: name, maximum: limits[name], found: found[name] }))
  // Each is a guess: several in one document would be several for one request.
  const credentials = roots.filter((name) => credentialFields.has(name)).length
  return operation.operation === 'mutation' && credentials > 1
    ? [...errors, tooMuch(operation, { limit: 'credentials', maximum: 1, found: credentials })]
    : errors
}

const limitNames = ['depth', 'aliases', 'directives', 'rootFields', 'fields'] as const

type Excess = { limit: (typeof limitNames)[number] | 'credentials'; maximum: number; found: number }

const explanations: Record<Excess['limit'], { what: string; suggestion: string }> = {
  depth: { what: 'levels of fields', suggestion: 'Ask for what is nested deeper with a request of its own.' },
  aliases: { what: 'aliases', suggestion: 'Ask for several things of one kind with `nodes(ids: …)` or a list.' },
  directives: { what: 'directives', suggestion: 'Leave out what you do not need instead of skipping it.' },
  rootFields: { what: 'fields at the root', suggestion: 'Send several requests.' },
  fields: { what: 'fields', suggestion: 'Ask only for the fields that you use, or send several requests.' },
  credentials: {
    what: 'of signUp, logIn, refreshSession and changePassword',
    suggestion: 'Send each in a request of its own.',
  },
}

function tooMuch(operation: OperationDefinitionNode, { limit, maximum, found }: Excess): GraphQLError {
  const { what, suggestion } = explanations[limit]
  const message = `An operation may have at most ${maximum} ${what}; this one has ${found}.`
  const originalError = new AppError('GRAPHQL_VALIDATION_FAILED', message, {
    details: { limit, maximum, found },
    suggestions: [suggestion],
  })
  return new GraphQLError(message, { nodes: operation, originalError })
}

/** Counts; each fragment once, however often it is used, so that nesting them costs nothing. */
function createMeasure(fragments: Fragments): (selectionSet: SelectionSetNode) => Measure {
  const measured = new Map<string, Measure>()
  const nothing: Measure = { depth: 0, aliases: 0, directives: 0, fields: 0 }

  function measureFragment(name: string): Measure {
    const known = measured.get(name)
    if (known !== undefined) return known
    measured.set(name, nothing)
    const fragment = fragments.get(name)
    const result = fragment === undefined ? nothing : measure(fragment.selectionSet, fragment.directives?.length)
    measured.set(name, result)
    return result
  }

  function measure(selectionSet: SelectionSetNode, ownDirectives = 0): Measure {
    const sum = { ...nothing, directives: ownDirectives }
    for (const selection of selectionSet.selections) {
      sum.directives += selection.directives?.length ?? 0
      const inner =
        selection.kind === Kind.FRAGMENT_SPREAD
          ? measureFragment(selection.name.value)
          : selection.selectionSet === undefined
            ? nothing
            : measure(selection.selectionSet)
      const isField = selection.kind === Kind.FIELD
      const isIntrospection = isField && selection.name.value.startsWith('__')
      sum.depth = Math.max(sum.depth, (isField ? 1 : 0) + (isIntrospection ? 0 : inner.depth))
      sum.fields += inner.fields + (isField ? 1 : 0)
      sum.aliases += inner.aliases + (isField && selection.alias !== undefined ? 1 : 0)
      sum.directives += inner.directives
    }
    return sum
  }

  return (selectionSet) => measure(selectionSet)
}
