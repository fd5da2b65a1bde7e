import { expect, test } from 'vitest'
import { demo } from '../../src/cli/demo.ts'
import { freePort } from '../support/redis-server.ts'

test('the demo says in a sentence that no server answers', async () => {
  const url = `http://127.0.0.1:${await freePort()}`
  const run = demo({ args: [url], env: {}, output: () => {} })
  await expect(run).rejects.toMatchObject({
    code: 'SERVICE_UNAVAILABLE',
    message: expect.stringContaining(`No server answers at ${url}`),
  })
})
