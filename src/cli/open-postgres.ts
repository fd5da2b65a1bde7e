import { parseConfig } from '../config.ts'
import { connectionStringOf, startEmbeddedPostgres } from '../platform/database/embedded-postgres.ts'
import { DataDirectoryInUseError, findLockOwner } from '../platform/database/data-directory-lock.ts'

/** The Postgres that the configuration names, for one command. */
export type OpenPostgres = {
  kind: 'postgresql' | 'embedded'
  connectionString: string
  close(): Promise<void>
}

const idleInTransactionMs = 20_000

/**
 * A server's URL as it is. Embedded: the running server's Postgres when there is one, over its socket, or else our own for
 * as long as the command takes. Throws DataDirectoryInUseError while a server is starting or stopping.
 */
export async function openPostgres(env: NodeJS.ProcessEnv): Promise<OpenPostgres> {
  const { database, dataDir } = parseConfig(env)
  if (database.url !== null) return { kind: 'postgresql', connectionString: database.url, close: async () => {} }
  const owner = await findLockOwner(dataDir)
  if (owner === null) {
    const postgres = await startEmbeddedPostgres({
      dataDirectory: dataDir,
      idleInTransactionMs,
      onCrash(error) {
        throw error
      },
    })
    return { kind: 'embedded', connectionString: postgres.connectionString, close: () => postgres.close() }
  }
  if (owner.socketFolder === null) throw new DataDirectoryInUseError(dataDir, owner)
  return { kind: 'embedded', connectionString: connectionStringOf(owner.socketFolder), close: async () => {} }
}
