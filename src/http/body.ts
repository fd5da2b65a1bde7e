import type { IncomingMessage } from 'node:http'
import type { OperationRequest } from '../graphql/operations.ts'
import { BadUserInputError } from '../lib/errors.ts'
import { bodyTooLarge, unsupportedMediaType } from './http-error.ts'

const contentType = /^application\/json\s*(?:;\s*charset="?utf-8"?\s*)?$/i

/**
 * Reads the operation out of a POST: one JSON object in UTF-8, at most `maxBytes`, whatever the headers say of its length.
 * Only JSON, because a page of another origin can send the other types without being asked first (CORS).
 */
export async function readOperation(request: IncomingMessage, maxBytes: number): Promise<OperationRequest> {
  const { 'content-type': type, 'content-encoding': encoding, 'content-length': length } = request.headers
  if (type === undefined || !contentType.test(type) || (encoding ?? 'identity') !== 'identity') {
    throw unsupportedMediaType()
  }
  if (Number(length ?? 0) > maxBytes) throw bodyTooLarge(maxBytes)
  return toOperation(parseJson(await readBytes(request, maxBytes)))
}

/** Reads the operation out of a query string, as `EventSource` sends it. */
export function operationOfQuery(query: URLSearchParams): OperationRequest {
  return toOperation({
    query: query.get('query') ?? undefined,
    documentId: query.get('documentId'),
    operationName: query.get('operationName'),
    variables: parameter(query, 'variables'),
    extensions: parameter(query, 'extensions'),
  })
}

function parameter(query: URLSearchParams, field: string): unknown {
  const text = query.get(field)
  if (text === null || text === '') return null
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new BadUserInputError(field, 'It must be JSON.', { cause })
  }
}

async function readBytes(request: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let length = 0
  // Leaving this loop must not destroy the request: the answer goes over the same connection.
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    const bytes: Buffer = chunk
    length += bytes.length
    if (length > maxBytes) throw bodyTooLarge(maxBytes)
    chunks.push(bytes)
  }
  return Buffer.concat(chunks)
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw new BadUserInputError('body', 'The body is not JSON in UTF-8.', { cause })
  }
}

function toOperation(body: unknown): OperationRequest {
  if (!isRecord(body))
    throw new BadUserInputError('body', 'The body must be one JSON object; batches are not accepted.')
  const { query = '', documentId = null, operationName = null, variables } = body
  const documentHash = documentHashOf(documentId, objectOrNone(body['extensions'], 'extensions'))
  if (typeof query !== 'string' || (query === '' && documentHash === null))
    throw new BadUserInputError('query', 'It must be the text of a document.')
  if (operationName !== null && typeof operationName !== 'string') {
    throw new BadUserInputError('operationName', 'It must be text or null.')
  }
  return {
    query,
    documentHash,
    operationName: operationName === '' ? null : operationName,
    variables: objectOrNone(variables, 'variables'),
  }
}

/**
 * How clients name a document that the server knows: `documentId: "sha256:…"` (the GraphQL over HTTP draft's appendix on persisted documents), or
 * `extensions.persistedQuery.sha256Hash`, as Apollo's clients and urql do.
 */
export function documentHashOf(documentId: unknown, { persistedQuery }: Record<string, unknown>): string | null {
  const named = isRecord(persistedQuery) ? persistedQuery['sha256Hash'] : documentId
  if (named === null || named === undefined) return null
  const hash = typeof named === 'string' ? /^(?:sha256:)?([0-9a-f]{64})$/i.exec(named)?.[1] : undefined
  if (hash === undefined)
    throw new BadUserInputError('documentId', 'It must be the SHA-256 of a document, in hexadecimal.')
  return hash
}

function objectOrNone(value: unknown, field: string): Record<string, unknown> {
  if (value === undefined || value === null) return {}
  if (!isRecord(value)) throw new BadUserInputError(field, 'It must be an object or null.')
  return value
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
