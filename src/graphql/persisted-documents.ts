import { createHash } from 'node:crypto'
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'

/** The documents that may be executed when no others may, by the SHA-256 of their text (hexadecimal, lower case). */
export type PersistedDocuments = ReadonlyMap<string, string>

/** The file or folder cannot be used; the message says why. */
export class PersistedDocumentsError extends Error {
  constructor(path: string, reason: string, options?: ErrorOptions) {
    super(`PERSISTED_DOCUMENTS: ${path} ${reason}`, options)
    this.name = 'PersistedDocumentsError'
  }
}

export function documentHash(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

/**
 * Reads a folder (each `.graphql` file is one document) or a JSON file whose values are the documents: `{"<any key>": "query …"}`, as
 * GraphQL Code Generator writes it (`persistedDocuments`). Throws PersistedDocumentsError.
 */
export async function loadPersistedDocuments(path: string): Promise<PersistedDocuments> {
  try {
    const texts = (await stat(path)).isDirectory() ? await readFolder(path) : await readManifest(path)
    if (texts.length === 0) throw new PersistedDocumentsError(path, 'holds no documents.')
    return new Map(texts.map((text) => [documentHash(text), text]))
  } catch (cause) {
    if (cause instanceof PersistedDocumentsError) throw cause
    throw new PersistedDocumentsError(path, 'cannot be read.', { cause })
  }
}

async function readFolder(path: string): Promise<string[]> {
  const names = (await readdir(path)).filter((name) => /\.(?:graphql|gql)$/.test(name))
  return Promise.all(names.map((name) => readFile(join(path, name), 'utf8')))
}

async function readManifest(path: string): Promise<string[]> {
  const documents: unknown = JSON.parse(await readFile(path, 'utf8'))
  const texts: unknown[] = typeof documents === 'object' && documents !== null ? Object.values(documents) : []
  if (Array.isArray(documents) || !texts.every((text) => typeof text === 'string'))
    throw new PersistedDocumentsError(path, 'must be a JSON object whose values are documents.')
  return texts
}
