import {
  GraphQLError,
  NoSchemaIntrospectionCustomRule,
  parse,
  specifiedRules,
  type DocumentNode,
  type GraphQLSchema,
} from 'graphql'
import { LRUCache } from 'lru-cache'
import { AppError, BadUserInputError } from '../lib/errors.ts'
import { documentError, validateDocument } from './document-errors.ts'
import { documentLimitErrors, type DocumentLimits } from './document-limits.ts'
import { documentHash, type PersistedDocuments } from './persisted-documents.ts'

/** What a document's text came to: parsed and valid, or what is wrong with it. */
export type CheckedDocument =
  { kind: 'valid'; document: DocumentNode } | { kind: 'invalid'; errors: readonly GraphQLError[] }

/** A document, by its text or, where it is known to the server, by the SHA-256 of it. */
export type DocumentRequest = { query: string; documentHash: string | null }

export interface Documents {
  /** Parses, measures and validates the document, or remembers what came of it the last time. Throws AppError when it is not accepted. */
  check(request: DocumentRequest): CheckedDocument
}

export type DocumentsOptions = {
  limits: DocumentLimits & {
    /** Nesting costs stack: what a megabyte of braces would take, no stack has. */
    tokens: number
  }
  /** Whether the schema may be asked for. */
  introspection: boolean
  /** Null: any document is accepted. */
  persisted: PersistedDocuments | null
}

const maxRememberedCharacters = 1024 * 1024
const maxCharactersOfOne = 64 * 1024

export function createDocuments(schema: GraphQLSchema, options: DocumentsOptions): Documents {
  const { persisted } = options
  // Bounded by text, not by number: what is parsed takes some fifty times the memory of its text.
  const checked = new LRUCache<string, CheckedDocument>({
    maxSize: maxRememberedCharacters,
    maxEntrySize: maxCharactersOfOne,
    sizeCalculation: (_value, text) => text.length + 1,
  })

  return {
    check(request) {
      const text = textOf(request, persisted)
      const known = checked.get(text)
      if (known !== undefined) return known
      const result = checkDocument(schema, text, options)
      checked.set(text, result)
      return result
    },
  }
}

function textOf({ query, documentHash: hash }: DocumentRequest, persisted: PersistedDocuments | null): string {
  if (hash !== null) {
    const text = persisted?.get(hash.toLowerCase())
    if (text !== undefined) return text
    if (persisted !== null || query === '') throw unknownDocument()
  }
  if (query === '') throw new BadUserInputError('query', 'It must be the text of a document.')
  if (persisted !== null && !persisted.has(documentHash(query))) throw unknownDocument()
  return query
}

function unknownDocument(): AppError {
  return new AppError('FORBIDDEN', 'This server executes only documents that it knows.', {
    suggestions: ['Add the document to PERSISTED_DOCUMENTS, letter by letter, and restart the server.'],
  })
}

function checkDocument(
  schema: GraphQLSchema,
  text: string,
  { limits, introspection }: DocumentsOptions,
): CheckedDocument {
  try {
    const document = parse(text, { maxTokens: limits.tokens })
    const excess = documentLimitErrors(document, limits)
    if (excess.length > 0) return { kind: 'invalid', errors: excess }
    const rules = introspection ? specifiedRules : [...specifiedRules, NoSchemaIntrospectionCustomRule]
    const errors = validateDocument(schema, document, rules).map((error) =>
      documentError('GRAPHQL_VALIDATION_FAILED', error),
    )
    return errors.length === 0 ? { kind: 'valid', document } : { kind: 'invalid', errors }
  } catch (error) {
    if (error instanceof GraphQLError) {
      return { kind: 'invalid', errors: [documentError('GRAPHQL_PARSE_FAILED', error)] }
    }
    throw error
  }
}
