import {
  getNamedType,
  getVariableValues,
  isInterfaceType,
  isObjectType,
  Kind,
  valueFromAST,
  type DocumentNode,
  type FieldNode,
  type GraphQLField,
  type GraphQLNamedType,
  type GraphQLSchema,
  type OperationDefinitionNode,
  type SelectionSetNode,
} from 'graphql'
import { defaultFieldCost, type FieldCost } from './field-cost.ts'
import { fragmentsOf, type Fragments } from './root-fields.ts'
import type { Variables } from './variables.ts'

export type CostedOperation = {
  schema: GraphQLSchema
  document: DocumentNode
  operation: OperationDefinitionNode
  variables: Variables
}

type Scope = {
  schema: GraphQLSchema
  variables: Variables
  fragments: Fragments
  /** Selections that were counted already, by the type that they were made on. */
  counted: Map<SelectionSetNode, Map<string, number>>
}

/**
 * What a valid operation costs at most: the sum of its fields, each as often as it may appear in the answer. The `complexity` of a field is
 * declared where the field is (`@pothos/plugin-complexity`); only the calculation is ours: the plugin's reads arguments through all checks of
 * the field, whose refusal would then be one of the operation and not of the field.
 */
export function operationCost({ schema, document, operation, variables }: CostedOperation): number {
  const root = schema.getRootType(operation.operation)
  if (!root) return 0
  const { coerced = {} } = getVariableValues(schema, operation.variableDefinitions ?? [], variables)
  const fragments = fragmentsOf(document)
  return costOfSelections(operation.selectionSet, root, { schema, variables: coerced, fragments, counted: new Map() })
}

function costOfSelections(selectionSet: SelectionSetNode, type: GraphQLNamedType, scope: Scope): number {
  const known = scope.counted.get(selectionSet)?.get(type.name)
  if (known !== undefined) return known
  let cost = 0
  for (const selection of selectionSet.selections) {
    if (selection.kind === Kind.FIELD) {
      cost += costOfField(selection, type, scope)
      continue
    }
    const fragment = selection.kind === Kind.FRAGMENT_SPREAD ? scope.fragments.get(selection.name.value) : selection
    if (fragment === undefined) continue
    const condition = fragment.typeCondition?.name.value
    const on = condition === undefined ? type : (scope.schema.getType(condition) ?? type)
    cost += costOfSelections(fragment.selectionSet, on, scope)
  }
  const byType = scope.counted.get(selectionSet) ?? new Map<string, number>()
  scope.counted.set(selectionSet, byType.set(type.name, cost))
  return cost
}

function costOfField(node: FieldNode, parent: GraphQLNamedType, scope: Scope): number {
  const field = isObjectType(parent) || isInterfaceType(parent) ? (parent.getFields()[node.name.value] ?? null) : null
  // `__typename`, and introspection, which is read from memory.
  if (field === null) return 1
  const { field: own, multiplier } = declaredCost(field, node, scope)
  if (node.selectionSet === undefined) return own
  return own + multiplier * costOfSelections(node.selectionSet, getNamedType(field.type), scope)
}

function declaredCost(field: GraphQLField<unknown, unknown>, node: FieldNode, scope: Scope): FieldCost {
  const declared: unknown = field.extensions['complexity']
  const args = argumentsOf(field, node, scope)
  const cost: unknown = typeof declared === 'function' ? declared(args, {}, field) : declared
  const { field: standard, multiplier } = defaultFieldCost(args, {}, field)
  if (typeof cost === 'number') return { field: cost, multiplier }
  return {
    field: numberIn(cost, 'field') ?? standard,
    multiplier: numberIn(cost, 'multiplier') ?? multiplier,
  }
}

function numberIn(value: unknown, key: string): number | null {
  if (typeof value !== 'object' || value === null || !(key in value)) return null
  const found: unknown = Reflect.get(value, key)
  return typeof found === 'number' ? found : null
}

/** The arguments as far as they can be read; what is wrong with one is said where the field is executed. */
function argumentsOf(
  field: GraphQLField<unknown, unknown>,
  node: FieldNode,
  { variables }: Scope,
): Record<string, unknown> {
  return Object.fromEntries(
    field.args.map(({ name, type, defaultValue }) => {
      const given = node.arguments?.find((argument) => argument.name.value === name)
      const value = given === undefined ? undefined : valueFromAST(given.value, type, variables)
      return [name, value === undefined ? defaultValue : value]
    }),
  )
}
