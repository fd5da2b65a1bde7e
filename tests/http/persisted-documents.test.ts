import { createHash } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openSocket } from '../support/raw-socket.ts'
import { startTestApp, type TestApp } from '../support/test-app.ts'

const known = '{ viewer { user { id } } }'
const hash = createHash('sha256').update(known).digest('hex')
let folder: string
beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'monk-documents-'))))
afterAll(() => rm(folder, { recursive: true }))

async function post(app: TestApp, body: object): Promise<{ data?: unknown; errors?: { message: string }[] }> {
  const headers = { 'content-type': 'application/json' }
  const response = await app.request('/graphql', { method: 'POST', headers, body: JSON.stringify(body) })
  return response.json()
}

const refused = {
  errors: [{ message: 'This server executes only documents that it knows.', extensions: { code: 'FORBIDDEN' } }],
}
const answered = { data: { viewer: null } }

describe.each(['a folder', 'a manifest'])('the documents of %s', (kind) => {
  let app: TestApp

  beforeAll(async () => {
    const path = join(folder, kind === 'a folder' ? '.' : 'documents.json')
    await writeFile(join(folder, 'viewer.graphql'), known)
    await writeFile(join(folder, 'documents.json'), JSON.stringify({ viewer: known }))
    app = await startTestApp({ env: { PERSISTED_DOCUMENTS: path } })
  })
  afterAll(() => app[Symbol.asyncDispose]())

  test.each<[string, object, object]>([
    ['by their text', { query: known }, answered],
    ['by their hash', { documentId: `sha256:${hash}` }, answered],
    ['by their hash in the extensions', { extensions: { persistedQuery: { version: 1, sha256Hash: hash } } }, answered],
    ['not with a space more', { query: `${known} ` }, refused],
    ['not others', { query: '{ __typename }' }, refused],
    ['not by the hash of others', { documentId: `sha256:${'0'.repeat(64)}` }, refused],
    [
      'not others that come with their hash',
      { query: '{ __typename }', extensions: { persistedQuery: { version: 1, sha256Hash: '0'.repeat(64) } } },
      refused,
    ],
  ])('are executed %s', async (_how, body, expected) => {
    expect(await post(app, body)).toMatchObject(expected)
  })

  test('are the only ones over a WebSocket, too', async () => {
    await using socket = await openSocket(app.url)
    socket.send({ type: 'connection_init' })
    await socket.receive()
    socket.send({ type: 'subscribe', id: '1', payload: { query: '{ __typename }' } })
    expect(await socket.receive()).toMatchObject({ type: 'error', id: '1', payload: refused.errors })
  })
})

test('a file that holds none is refused at the start, by name', async () => {
  const path = join(folder, 'empty.json')
  await writeFile(path, '{}')
  await expect(startTestApp({ env: { PERSISTED_DOCUMENTS: path } })).rejects.toThrow(
    `PERSISTED_DOCUMENTS: ${path} holds no documents.`,
  )
})
