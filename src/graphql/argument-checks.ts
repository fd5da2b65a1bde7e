import SchemaBuilder, {
  BasePlugin,
  mapInputFields,
  type InputFieldsMapping,
  type PothosInputFieldConfig,
  type PothosOutputFieldConfig,
  type SchemaTypes,
} from '@pothos/core'
import type { GraphQLSchema } from 'graphql'
import { connectionProblems } from './connection-arguments.ts'
import { globalIdProblem } from './global-ids.ts'
import { inputError, type InputProblem } from '../lib/parse-input.ts'

const maxIds = 100
const maxTextBytes = 64 * 1024

/** The types that a global id may name; null: any that `node` finds. */
type AllowedTypes = { types: readonly string[] | null }

declare global {
  // oxlint-disable-next-line typescript/no-namespace -- Pothos plugins register themselves in its namespace
  export namespace PothosSchemaTypes {
    export interface Plugins<Types extends SchemaTypes> {
      argumentChecks: ArgumentChecksPlugin<Types>
    }
  }
}

/**
 * Refuses, before anything else sees the arguments, what the schema's types let through and a database would choke on: global
 * ids that are none or name another type, forged cursors, page sizes out of bounds, texts of more than 64 KiB that are no
 * prompts, and the character NUL, which Postgres cannot store. The error names each argument by its path.
 */
class ArgumentChecksPlugin<Types extends SchemaTypes> extends BasePlugin<Types> {
  override onOutputFieldConfig(field: PothosOutputFieldConfig<Types>): PothosOutputFieldConfig<Types> {
    const names = Object.keys(field.args)
    if (names.length === 0) return field
    const ids = mapInputFields(field.args, this.buildCache, allowedTypes)
    const isConnection = names.includes('first')
    const checksOwnCursor = field.extensions?.['ownCursor'] === true

    return {
      ...field,
      argMappers: [
        ...(field.argMappers ?? []),
        (args, _context, info) => {
          const problems = [
            ...textProblems(args, []),
            ...(ids === null ? [] : idProblems(args, ids, [], info.schema)),
            ...(isConnection ? connectionProblems(args, { checksOwnCursor }) : []),
          ]
          const [first, ...rest] = problems
          if (first !== undefined) throw inputError([first, ...rest])
          return args
        },
      ],
    }
  }
}

SchemaBuilder.registerPlugin('argumentChecks', ArgumentChecksPlugin)

function allowedTypes<Types extends SchemaTypes>({ extensions }: PothosInputFieldConfig<Types>): AllowedTypes | null {
  if (extensions?.['isRelayGlobalID'] !== true) return null
  const allowed: unknown = extensions['relayGlobalIDFor']
  if (!Array.isArray(allowed)) return { types: null }
  return { types: allowed.map((type: { typename: string }) => type.typename) }
}

function* idProblems<Types extends SchemaTypes>(
  values: object,
  mappings: InputFieldsMapping<Types, AllowedTypes>,
  path: readonly string[],
  schema: GraphQLSchema,
): Generator<InputProblem> {
  for (const [name, value] of Object.entries(values)) {
    const mapping = mappings.get(name)
    if (mapping === undefined) continue
    if (mapping.kind !== 'InputObject' && Array.isArray(value) && value.length > maxIds) {
      yield { field: [...path, name].join('.'), message: `At most ${maxIds} ids.` }
      continue
    }
    for (const [leafPath, leaf] of leaves(value, [...path, name])) {
      if (mapping.kind === 'InputObject') {
        if (mapping.fields.map !== null && typeof leaf === 'object' && leaf !== null)
          yield* idProblems(leaf, mapping.fields.map, leafPath, schema)
        continue
      }
      const message = globalIdProblem(leaf, mapping.value.types, schema)
      if (message !== null) yield { field: leafPath.join('.'), message }
    }
  }
}

/** The members of a list (of lists), each with its path; a value that is no list is its own only member. */
function* leaves(value: unknown, path: readonly string[]): Generator<[readonly string[], unknown]> {
  if (!Array.isArray(value)) {
    if (value !== null && value !== undefined) yield [path, value]
    return
  }
  for (const [index, member] of value.entries()) yield* leaves(member, [...path, String(index)])
}

// Prompts, messages and JSON have limits of their own, which their features hold them to.
const fieldsWithOwnLimit: ReadonlySet<string> = new Set(['prompt', 'content', 'input', 'state', 'outputSchema'])

// The first of the path is the argument, which is called `input` as well.
const hasOwnLimit = ([, ...path]: readonly string[]): boolean => path.some((part) => fieldsWithOwnLimit.has(part))

function* textProblems(value: unknown, path: readonly string[]): Generator<InputProblem> {
  if (typeof value === 'string') {
    if (value.includes('\0')) yield { field: path.join('.'), message: 'The character NUL is not allowed.' }
    if (!hasOwnLimit(path) && Buffer.byteLength(value) > maxTextBytes)
      yield { field: path.join('.'), message: `It may have at most ${maxTextBytes} bytes.` }
  } else if (typeof value === 'object' && value !== null && !(value instanceof Date)) {
    for (const [key, member] of Object.entries(value)) {
      if (key.includes('\0')) yield { field: path.join('.'), message: 'The character NUL is not allowed.' }
      yield* textProblems(member, [...path, key])
    }
  }
}
