import { expect, test } from 'vitest'
import '../support/graphql-test-fields.ts'
import { connectSocket } from '../support/raw-socket.ts'
import { startTestApp } from '../support/test-app.ts'

const tooLong = {
  message: 'The operation took longer than 0.2 s.',
  extensions: { code: 'SERVICE_UNAVAILABLE', details: { limit: 'executionMs', maximum: 200 } },
}

test('an operation that takes too long is answered with an error, over HTTP and over a WebSocket', async () => {
  await using app = await startTestApp({ env: { LIMIT_EXECUTION_MS: '200' } })

  const { errors } = await app.graphql('{ testHang }', {})
  expect(errors).toEqual([
    expect.objectContaining({ ...tooLong, extensions: expect.objectContaining(tooLong.extensions) }),
  ])

  await using socket = await connectSocket(app.url)
  socket.send({ type: 'subscribe', id: '1', payload: { query: '{ testHang }' } })
  expect(JSON.stringify(await socket.receive())).toContain(tooLong.message)
})
