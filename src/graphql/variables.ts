import {
  GraphQLError,
  isInputObjectType,
  isInputType,
  isListType,
  isNonNullType,
  isRequiredInputField,
  typeFromAST,
  type GraphQLInputType,
  type GraphQLSchema,
  type OperationDefinitionNode,
} from 'graphql'
import { ScalarInputError } from './scalars.ts'
import { inputError, type InputProblem } from '../lib/parse-input.ts'

const maxProblems = 20
const maxNameLength = 100

export type Variables = { readonly [name: string]: unknown }

/**
 * Checks an operation's variables against their types. The executor does it too, but its messages repeat the values, and one
 * may be a password: what this throws names the path (`input.name`) and the type only.
 */
export function assertVariables(schema: GraphQLSchema, operation: OperationDefinitionNode, variables: Variables): void {
  const definitions = operation.variableDefinitions ?? []
  const problems: InputProblem[] = []
  for (const definition of definitions) {
    const name = definition.variable.name.value
    const type = typeFromAST(schema, definition.type)
    // Validation has refused documents whose variables are not of input types.
    if (!isInputType(type)) continue
    if (!Object.hasOwn(variables, name) && definition.defaultValue !== undefined) continue
    for (const problem of inputProblems(variables[name], type, name)) {
      if (problems.length < maxProblems) problems.push(problem)
    }
  }
  const [first, ...rest] = problems
  if (first === undefined) return
  const originalError = inputError([first, ...rest])
  throw new GraphQLError(originalError.message, { nodes: definitions, originalError })
}

function* inputProblems(value: unknown, type: GraphQLInputType, field: string): Generator<InputProblem> {
  if (isNonNullType(type)) {
    if (isAbsent(value)) yield { field, message: `A value of type "${type}" is required.` }
    else yield* inputProblems(value, type.ofType, field)
  } else if (isAbsent(value)) {
    return
  } else if (isListType(type)) {
    if (!Array.isArray(value)) yield* inputProblems(value, type.ofType, field)
    else for (const [index, item] of value.entries()) yield* inputProblems(item, type.ofType, `${field}.${index}`)
  } else if (!isInputObjectType(type)) {
    const message = leafProblem(value, type)
    if (message !== null) yield { field, message }
  } else if (!isRecord(value)) {
    yield { field, message: `Expected an object of type "${type}".` }
  } else {
    const fields = type.getFields()
    for (const input of Object.values(fields)) {
      if (Object.hasOwn(value, input.name))
        yield* inputProblems(value[input.name], input.type, `${field}.${input.name}`)
      else if (isRequiredInputField(input))
        yield { field: `${field}.${input.name}`, message: `A value of type "${input.type}" is required.` }
    }
    for (const name of Object.keys(value)) {
      if (!Object.hasOwn(fields, name))
        yield { field: `${field}.${name.slice(0, maxNameLength)}`, message: `"${type}" has no such field.` }
    }
  }
}

function leafProblem(value: unknown, type: { name: string; parseValue(value: unknown): unknown }): string | null {
  try {
    return type.parseValue(value) === undefined ? `Expected a value of type "${type.name}".` : null
  } catch (error) {
    if (error instanceof ScalarInputError) return error.message
    // A scalar says no by throwing, and what it says repeats the value.
    return `Expected a value of type "${type.name}".`
  }
}

const isAbsent = (value: unknown): boolean => value === null || value === undefined

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
