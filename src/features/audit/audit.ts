import type { Prisma } from '../../generated/prisma/client.ts'
import type { Transaction } from '../../platform/database/database.ts'
import type { RequestOrigin } from './request-origin.ts'

type AuditSubject =
  'user' | 'session' | 'api_key' | 'workspace' | 'member' | 'agent' | 'schedule' | 'task' | 'key' | 'flag' | 'budget'

/** The subject, then what happened to it: `user.signed_up`. */
export type AuditAction = `${AuditSubject}.${string}`

export type AuditRecord = RequestOrigin & {
  id: string
  at: Date
  action: AuditAction
  /** Who did it; null when nobody was signed in. */
  actorId: string | null
  /** The id of what it was done to. */
  target: string | null
  workspaceId: string | null
  /** Facts; never a password, token, key, prompt or e-mail. */
  details?: Prisma.InputJsonObject
}

/** Writes one audit event. Pass the transaction of the act itself: either both happened or neither. */
export async function recordAudit(tx: Transaction, record: AuditRecord): Promise<void> {
  const { apiKeyId, details, ...row } = record
  const facts = apiKeyId === undefined ? details : { ...details, apiKeyId }
  await tx.auditEvent.create({ data: facts === undefined ? row : { ...row, details: facts } })
}
