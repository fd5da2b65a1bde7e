import { createHash } from 'node:crypto'
import type { RedisConnection } from './redis-connection.ts'

/** A Lua script: everything in it happens in one step, whoever else asks. */
export interface RedisScript {
  /** What the script returns. Throws RedisError. All keys begin with the server's `keyPrefix`, so that a Cluster has them in one place. */
  run(connection: RedisConnection, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown>
}

/** The script is sent by its hash, and itself only to a server that does not know it. */
export function createRedisScript(source: string): RedisScript {
  const hash = createHash('sha1').update(source).digest('hex')
  return {
    run(connection, keys, args) {
      return connection.run(async (client) => {
        try {
          return await client.evalsha(hash, keys.length, ...keys, ...args)
        } catch (error) {
          if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error
          return client.eval(source, keys.length, ...keys, ...args)
        }
      })
    },
  }
}
