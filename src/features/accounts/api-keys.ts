import { z } from 'zod'
import type { ApiKey, ApiScope } from '../../generated/prisma/client.ts'
import type { Clock } from '../../lib/clock.ts'
import { ConflictError, ForbiddenError, NotFoundError } from '../../lib/errors.ts'
import type { NewId } from '../../lib/ids.ts'
import { parseInput } from '../../lib/parse-input.ts'
import { nameText } from '../../lib/stored-text.ts'
import type { Database, Transaction } from '../../platform/database/database.ts'
import { recordAudit, type AuditAction } from '../audit/audit.ts'
import type { RequestOrigin } from '../audit/request-origin.ts'
import type { WorkspaceAccess } from '../workspaces/access.ts'
import { lockWorkspace } from '../workspaces/workspace-rows.ts'
import { workspacesOf } from '../workspaces/visible-workspaces.ts'
import type { AccessChanges } from './access-changes.ts'
import { apiKeyHash, formatApiKeyToken, newApiKeyToken } from './api-key-tokens.ts'
import type { SessionViewer } from './viewer.ts'

/**
 * API keys: for programs, bound to a workspace. A key acts for who made it, and may do there what both its scopes and its maker's role allow.
 * Only people in a session manage keys: a MEMBER their own, an OWNER all of the workspace. Every method throws NotFoundError for what is not
 * the viewer's, and ForbiddenError.
 */
export interface ApiKeys {
  /** Makes one; the secret is shown here once. Throws BadUserInputError, and ConflictError when the workspace has too many. */
  create(viewer: SessionViewer, input: CreateApiKeyInput, origin: RequestOrigin): Promise<NewApiKey>
  /** Gives the key another secret; the old one is refused at once. Throws ConflictError when the key was revoked. */
  rotate(viewer: SessionViewer, apiKeyId: string, origin: RequestOrigin): Promise<NewApiKey>
  /** Ends it for good; one that has ended stays as it is. */
  revoke(viewer: SessionViewer, apiKeyId: string, origin: RequestOrigin): Promise<ApiKey>
}

export type CreateApiKeyInput = {
  workspaceId?: string | null | undefined
  name: string
  scopes: readonly ApiScope[]
  /** Absent: it does not end by itself. */
  expiresAt?: Date | null | undefined
}

export type NewApiKey = { apiKey: ApiKey; secret: string }

export type ApiKeysDeps = { db: Database; clock: Clock; newId: NewId; access: WorkspaceAccess; changes: AccessChanges }

/** They are listed whole. */
export const maxApiKeys = 100
export const maxNameLength = 100
const apiScopes = ['READ', 'TASKS', 'AGENTS', 'COMPLETIONS'] as const

export function createApiKeys({ db, clock, newId, access, changes }: ApiKeysDeps): ApiKeys {
  const createInput = z.object({
    name: nameText(maxNameLength),
    scopes: z
      .array(z.enum(apiScopes))
      .min(1, 'must name at least one')
      .max(apiScopes.length, 'must name each once')
      .refine((scopes) => new Set(scopes).size === scopes.length, 'must name each once'),
    expiresAt: z
      .date()
      .refine((time) => time > clock.now(), 'must be in the future')
      .nullish(),
  })

  type Act = { action: AuditAction; viewer: SessionViewer; origin: RequestOrigin }

  async function audit(tx: Transaction, act: Act, apiKey: ApiKey): Promise<void> {
    const { id: target, workspaceId, scopes, expiresAt } = apiKey
    const { action, viewer, origin } = act
    const details = { scopes, expiresAt: expiresAt?.toISOString() ?? null }
    const subject = { actorId: viewer.userId, target, workspaceId, details }
    await recordAudit(tx, { id: newId(), at: clock.now(), action, ...subject, ...origin })
  }

  async function requireManaged(viewer: SessionViewer, apiKeyId: string): Promise<ApiKey> {
    const apiKey = await db.prisma.apiKey.findFirst({ where: { id: apiKeyId, workspace: workspacesOf(viewer) } })
    if (apiKey === null) throw new NotFoundError('API key')
    const { role } = await access.require(viewer, apiKey.workspaceId, 'MEMBER')
    if (role === 'OWNER' || apiKey.createdById === viewer.userId) return apiKey
    throw new ForbiddenError('Somebody else made this key; only they and the owners of the workspace manage it.')
  }

  return {
    async create(viewer, { workspaceId, ...rawInput }, origin) {
      const where = workspaceId ?? (await access.personalWorkspaceId(viewer))
      await access.require(viewer, where, 'MEMBER')
      const { name, scopes, expiresAt = null } = parseInput(createInput, rawInput)
      const token = newApiKeyToken()
      const row = {
        id: newId(),
        workspaceId: where,
        createdById: viewer.userId,
        name,
        prefix: token.prefix,
        secretHash: apiKeyHash(token.secret),
        scopes,
        createdAt: clock.now(),
        expiresAt,
      }
      const apiKey = await db.transaction(async (tx) => {
        await lockWorkspace(tx, where)
        const count = await tx.apiKey.count({ where: { workspaceId: where, revokedAt: null } })
        if (count >= maxApiKeys) throw tooMany()
        const created = await tx.apiKey.create({ data: row })
        await audit(tx, { action: 'api_key.created', viewer, origin }, created)
        return created
      })
      return { apiKey, secret: formatApiKeyToken(token) }
    },

    async rotate(viewer, apiKeyId, origin) {
      await requireManaged(viewer, apiKeyId)
      const token = newApiKeyToken()
      const data = { prefix: token.prefix, secretHash: apiKeyHash(token.secret) }
      const apiKey = await db.transaction(async (tx) => {
        const where = { id: apiKeyId, revokedAt: null }
        const [rotated] = await tx.apiKey.updateManyAndReturn({ where, data })
        if (rotated === undefined) throw new ConflictError('The API key was revoked.')
        await audit(tx, { action: 'api_key.rotated', viewer, origin }, rotated)
        return rotated
      })
      changes.announce([{ kind: 'apiKey', id: apiKeyId }])
      return { apiKey, secret: formatApiKeyToken(token) }
    },

    async revoke(viewer, apiKeyId, origin) {
      await requireManaged(viewer, apiKeyId)
      await db.transaction(async (tx) => {
        const where = { id: apiKeyId, revokedAt: null }
        const [revoked] = await tx.apiKey.updateManyAndReturn({ where, data: { revokedAt: clock.now() } })
        if (revoked !== undefined) await audit(tx, { action: 'api_key.revoked', viewer, origin }, revoked)
      })
      changes.announce([{ kind: 'apiKey', id: apiKeyId }])
      return db.prisma.apiKey.findUniqueOrThrow({ where: { id: apiKeyId } })
    },
  }
}

function tooMany(): ConflictError {
  return new ConflictError(`A workspace has at most ${maxApiKeys} API keys.`, {
    details: { maxApiKeys },
    suggestions: ['Revoke one that is not used any more.'],
  })
}
