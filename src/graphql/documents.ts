import { GraphQLError, parse, type DocumentNode, type GraphQLSchema } from 'graphql'
import { LRUCache } from 'lru-cache'
import { documentError, validateDocument } from './document-errors.ts'

/** What a document's text came to: parsed and valid, or what is wrong with it. */
export type CheckedDocument =
  { kind: 'valid'; document: DocumentNode } | { kind: 'invalid'; errors: readonly GraphQLError[] }

export interface Documents {
  /** Parses and validates `text`, or remembers what came of it the last time. */
  check(text: string): CheckedDocument
}

// Nesting costs stack: what a megabyte of braces would take, no stack has.
const maxTokens = 2_000
const maxRememberedCharacters = 1024 * 1024
const maxCharactersOfOne = 64 * 1024

export function createDocuments(schema: GraphQLSchema): Documents {
  // Bounded by text, not by number: what is parsed takes some fifty times the memory of its text.
  const checked = new LRUCache<string, CheckedDocument>({
    maxSize: maxRememberedCharacters,
    maxEntrySize: maxCharactersOfOne,
    sizeCalculation: (_value, text) => text.length + 1,
  })

  return {
    check(text) {
      const known = checked.get(text)
      if (known !== undefined) return known
      const result = checkDocument(schema, text)
      checked.set(text, result)
      return result
    },
  }
}

function checkDocument(schema: GraphQLSchema, text: string): CheckedDocument {
  try {
    const document = parse(text, { maxTokens })
    const errors = validateDocument(schema, document).map((error) => documentError('GRAPHQL_VALIDATION_FAILED', error))
    return errors.length === 0 ? { kind: 'valid', document } : { kind: 'invalid', errors }
  } catch (error) {
    if (error instanceof GraphQLError) {
      return { kind: 'invalid', errors: [documentError('GRAPHQL_PARSE_FAILED', error)] }
    }
    throw error
  }
}
