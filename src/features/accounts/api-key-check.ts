import { LRUCache } from 'lru-cache'
import type { ApiScope } from '../../generated/prisma/client.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Database, Statement } from '../../platform/database/database.ts'
import type { Logger } from '../../platform/logger.ts'
import type { AccessChanges } from './access-changes.ts'
import { isSecretOf, parseApiKeyToken } from './api-key-tokens.ts'
import { authError } from './auth-errors.ts'
import { createRecentRows } from './recent-rows.ts'
import type { ApiKeyGrant, ApiKeyViewer, Viewer } from './viewer.ts'

/** Says on every request what an API key is good for. */
export interface ApiKeyCheck {
  /**
   * Who presents the key, and until when it is good (null: for ever). Throws UnauthenticatedError with the reason INVALID_API_KEY (also when
   * its maker is not in its workspace any more), API_KEY_EXPIRED or ACCOUNT_DISABLED. What the database says is believed for 30 s; a change
   * that is announced ends that at once. Notes the use, at most once a minute.
   */
  authenticate(token: string): Promise<{ viewer: Viewer; expiresAt: Date | null }>
  /** The viewer as the key would make them now. Throws as `authenticate` does; after a rotation, too. */
  require(apiKey: ApiKeyGrant): Promise<Viewer>
  /** Reads the keys again, in one statement. */
  refresh(apiKeys: readonly ApiKeyGrant[]): Promise<void>
}

type ApiKeyRow = {
  id: string
  prefix: string
  secretHash: Uint8Array
  workspaceId: string
  userId: string
  scopes: ApiScope[]
  expiresAt: Date | null
  revokedAt: Date | null
  disabled: boolean
}

const keysStatement: Statement = {
  name: 'api_key_check',
  text: `SELECT k.id, k.prefix, k.secret_hash AS "secretHash", k.workspace_id AS "workspaceId", k.created_by_id AS "userId",
                k.scopes::text[] AS scopes, k.expires_at AS "expiresAt", k.revoked_at AS "revokedAt", u.disabled
           FROM api_key k
           JOIN app_user u ON u.id = k.created_by_id
           JOIN workspace_member m ON m.workspace_id = k.workspace_id AND m.user_id = k.created_by_id
          WHERE k.prefix = ANY ($1::text[])`,
}

const usedStatement: Statement = {
  name: 'api_key_used',
  text: 'UPDATE api_key SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $3)',
}

const noteUseEveryMs = 60_000
const maxKeys = 10_000

export type ApiKeyCheckDeps = { db: Database; clock: Clock; changes: AccessChanges; logger: Logger }

export function createApiKeyCheck({ db, clock, changes, logger }: ApiKeyCheckDeps): ApiKeyCheck {
  const keys = createRecentRows<ApiKeyRow>({
    clock,
    async read(prefixes) {
      const rows = await db.query<ApiKeyRow>(keysStatement, [prefixes], { retry: true })
      return new Map(rows.map((row) => [row.prefix, row]))
    },
  })
  const noted = new LRUCache<string, true>({
    max: maxKeys,
    ttl: noteUseEveryMs,
    ttlResolution: 0,
    perf: { now: () => clock.monotonicMs() },
  })

  changes.onChange((change) => {
    if (change.kind === 'apiKey') keys.forget(({ id }) => id === change.id)
    if (change.kind === 'user') keys.forget(({ userId }) => userId === change.id)
    if (change.kind === 'member')
      keys.forget(({ userId, workspaceId }) => userId === change.userId && workspaceId === change.workspaceId)
  })

  function requireUsable(key: ApiKeyRow | null): ApiKeyRow {
    if (key === null || key.revokedAt !== null) throw authError('INVALID_API_KEY')
    if (key.expiresAt !== null && key.expiresAt <= clock.now()) throw authError('API_KEY_EXPIRED')
    if (key.disabled) throw authError('ACCOUNT_DISABLED')
    return key
  }

  async function noteUse(id: string): Promise<void> {
    if (noted.has(id)) return
    noted.set(id, true)
    const now = clock.now()
    try {
      await db.query(usedStatement, [id, now, new Date(now.getTime() - noteUseEveryMs)])
    } catch (err) {
      logger.warn({ err, apiKeyId: id }, 'the use of an API key could not be noted')
    }
  }

  return {
    async authenticate(token) {
      const parsed = parseApiKeyToken(token)
      const found = parsed === null ? null : await keys.get(parsed.prefix)
      if (parsed === null || found === null || !isSecretOf(found.secretHash, parsed.secret)) {
        throw authError('INVALID_API_KEY')
      }
      const key = requireUsable(found)
      await noteUse(key.id)
      return { viewer: viewerOf(key), expiresAt: key.expiresAt }
    },
    async require({ id, prefix }) {
      const key = requireUsable(await keys.get(prefix))
      if (key.id !== id) throw authError('INVALID_API_KEY')
      return viewerOf(key)
    },
    refresh: (apiKeys) => keys.refresh(apiKeys.map(({ prefix }) => prefix)),
  }
}

// Never ADMIN, whoever made it: a key is for a workspace.
function viewerOf({ id, prefix, workspaceId, userId, scopes }: ApiKeyRow): ApiKeyViewer {
  return { userId, sessionId: null, role: 'USER', apiKey: { id, prefix, workspaceId, scopes } }
}
