import {
  GraphQLError,
  Kind,
  specifiedRules,
  validate,
  ValuesOfCorrectTypeRule,
  type DocumentNode,
  type GraphQLSchema,
  type ValidationContext,
  type ValidationRule,
} from 'graphql'
import { AppError, type ErrorCode } from '../lib/errors.ts'
import { ScalarInputError } from './scalars.ts'

/** graphql-js's validation without "did you mean" and without repeating values: a password may be one. */
export function validateDocument(
  schema: GraphQLSchema,
  document: DocumentNode,
  rules: readonly ValidationRule[] = specifiedRules,
): readonly GraphQLError[] {
  const quietRules = rules.map((rule) => (rule === ValuesOfCorrectTypeRule ? quietValuesOfCorrectType : rule))
  return validate(schema, document, quietRules, { hideSuggestions: true })
}

/** Gives an error of the parser or the validator its code, and keeps its places in the document. */
export function documentError(code: ErrorCode, error: GraphQLError): GraphQLError {
  const { nodes = null, source = null, positions = null } = error
  // The parser repeats a string that it did not expect.
  const message = error.message.replace(/ (String|BlockString) ".*$/s, ' $1.')
  return new GraphQLError(message, { nodes, source, positions, originalError: new AppError(code, message) })
}

const literals: ReadonlySet<string> = new Set([
  Kind.INT,
  Kind.FLOAT,
  Kind.STRING,
  Kind.BOOLEAN,
  Kind.ENUM,
  Kind.NULL,
  Kind.LIST,
  Kind.OBJECT,
])

function quietValuesOfCorrectType(context: ValidationContext): ReturnType<ValidationRule> {
  const quiet: ValidationContext = Object.create(context, {
    reportError: { value: (error: GraphQLError) => context.reportError(withoutValue(error, context)) },
  })
  return ValuesOfCorrectTypeRule(quiet)
}

function withoutValue(error: GraphQLError, context: ValidationContext): GraphQLError {
  // What is said about the fields of an input names only the schema's own names.
  if (error.message.startsWith('Field "')) return error
  const [node] = error.nodes ?? []
  if (node === undefined || !literals.has(node.kind)) return error
  const type = context.getInputType()
  const reason = error.originalError instanceof ScalarInputError ? ` ${error.originalError.message}` : ''
  const message = type ? `Expected a value of type "${type}".${reason}` : `This value does not fit here.${reason}`
  return new GraphQLError(message, { nodes: error.nodes ?? null })
}
