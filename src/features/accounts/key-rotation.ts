import type { KeyRow } from '../../generated/prisma/client.ts'
import type { Clock } from '../../lib/clock.ts'
import type { NewId } from '../../lib/ids.ts'
import type { Database, Transaction } from '../../platform/database/database.ts'
import { recordAudit, type AuditAction } from '../audit/audit.ts'
import { unknownOrigin } from '../audit/request-origin.ts'
import { isKeyPurpose, newKeyRow, type KeyPurpose } from './key.ts'
import type { KeyEncryption } from './key-encryption.ts'

/**
 * How long keys stay in their states, in milliseconds. No request fails during a rotation as long as every process has read a NEXT key before
 * anybody signs with it: `publishForMs` must be longer than a few of `reloadEveryMs`.
 */
export type KeyTimings = {
  /** How often every process reads the rows again. */
  reloadEveryMs: number
  /** How long NEXT is published before it becomes CURRENT. */
  publishForMs: number
  /** How long RETIRING verifies, by purpose: as long as what it has signed is good. */
  retireAfterMs: Readonly<Record<KeyPurpose, number>>
}

const minute = 60_000

export const defaultKeyTimings: KeyTimings = {
  reloadEveryMs: 10_000,
  publishForMs: minute,
  retireAfterMs: {
    // Access tokens live for 10 minutes.
    JWT_SIGNING: 15 * minute,
    // Needed to repeat a child within the grace of 10 s; tokens themselves are known by their digest.
    REFRESH: 15 * minute,
    // A browser that comes back after its session’s idle time has to log in anyway.
    CSRF: 7 * 24 * 60 * minute,
    // And no sooner than when no password is stored under it any more: each moves on with the next log-in.
    PEPPER: 15 * minute,
  },
}

/** A key as people see it: never what it holds. */
export type KeyListing = Pick<KeyRow, 'id' | 'purpose' | 'state' | 'createdAt' | 'activatedAt' | 'retiringAt'>

/** Moves keys on: NEXT → CURRENT → RETIRING → RETIRED, each step once, whoever takes it. */
export interface KeyRotation {
  /** Makes a NEXT key for each purpose that has none. Running servers do the rest by themselves. Returns the NEXT keys. */
  start(purposes: readonly KeyPurpose[]): Promise<KeyListing[]>
  /** Takes every step that is due. Returns whether any was. */
  advance(): Promise<boolean>
  /** All keys, those that are RETIRED too, by purpose and age. */
  list(): Promise<KeyListing[]>
}

export type KeyRotationDeps = {
  db: Database
  clock: Clock
  newId: NewId
  encryption: KeyEncryption
  timings: KeyTimings
}

const pepperCheckEveryMs = 60 * minute

const listed = { id: true, purpose: true, state: true, createdAt: true, activatedAt: true, retiringAt: true } as const

export function createKeyRotation({ db, clock, newId, encryption, timings }: KeyRotationDeps): KeyRotation {
  let pepperCheckDueMs = 0

  async function audit(tx: Transaction, action: AuditAction, { id, purpose }: KeyListing): Promise<void> {
    const subject = { actorId: null, workspaceId: null, target: id, details: { purpose } }
    await recordAudit(tx, { id: newId(), at: clock.now(), action, ...subject, ...unknownOrigin })
  }

  async function activate(tx: Transaction, key: KeyListing): Promise<void> {
    const now = clock.now()
    // First the old one: there is at most one CURRENT key of a purpose at any time.
    await tx.keyRow.updateMany({
      where: { purpose: key.purpose, state: 'CURRENT' },
      data: { state: 'RETIRING', retiringAt: now },
    })
    await tx.keyRow.update({ where: { id: key.id }, data: { state: 'CURRENT', activatedAt: now } })
    await audit(tx, 'key.activated', key)
  }

  /** What it held is gone for good. */
  async function retire(tx: Transaction, key: KeyListing): Promise<void> {
    await tx.keyRow.update({ where: { id: key.id }, data: { state: 'RETIRED', encryptedValue: '' } })
    await audit(tx, 'key.retired', key)
  }

  /** Looking through all accounts takes 30 ms for 100 000 of them, and may go on for years. */
  async function isPepperFree(tx: Transaction, id: string): Promise<boolean> {
    pepperCheckDueMs = clock.now().getTime() + pepperCheckEveryMs
    return !(await isPepperInUse(tx, id))
  }

  function isDue({ purpose, state, createdAt, retiringAt }: KeyListing): boolean {
    if (!isKeyPurpose(purpose)) return false
    const now = clock.now().getTime()
    if (purpose === 'PEPPER' && state === 'RETIRING' && now < pepperCheckDueMs) return false
    if (state === 'NEXT') return createdAt.getTime() + timings.publishForMs <= now
    return state === 'RETIRING' && retiringAt !== null && retiringAt.getTime() + timings.retireAfterMs[purpose] <= now
  }

  async function step(tx: Transaction, key: KeyListing): Promise<boolean> {
    if (key.state === 'NEXT') await activate(tx, key)
    else if (key.purpose === 'PEPPER' && !(await isPepperFree(tx, key.id))) return false
    else await retire(tx, key)
    return true
  }

  return {
    async start(purposes) {
      const candidates = purposes.map((purpose) =>
        newKeyRow(purpose, { id: newId(), at: clock.now(), encryption, state: 'NEXT' }),
      )
      return db.transaction(async (tx) => {
        await lockKeyRows(tx)
        const waiting = await tx.keyRow.findMany({ where: { state: 'NEXT', purpose: { in: [...purposes] } } })
        const missing = candidates.filter(({ purpose }) => !waiting.some((row) => row.purpose === purpose))
        const made = await tx.keyRow.createManyAndReturn({ data: missing, select: listed })
        for (const key of made) await audit(tx, 'key.rotation_started', key)
        return tx.keyRow.findMany({ where: { state: 'NEXT', purpose: { in: [...purposes] } }, select: listed })
      })
    },

    async advance() {
      const where = { state: { in: ['NEXT' as const, 'RETIRING' as const] } }
      // Nearly always there is nothing to do, and nobody to wait for.
      if (!(await db.prisma.keyRow.findMany({ where, select: listed })).some(isDue)) return false
      return db.transaction(async (tx) => {
        await lockKeyRows(tx)
        let moved = false
        for (const key of await tx.keyRow.findMany({ where, select: listed, orderBy: { id: 'asc' } }))
          if (isDue(key) && (await step(tx, key))) moved = true
        return moved
      })
    },

    list: () => db.prisma.keyRow.findMany({ select: listed, orderBy: [{ purpose: 'asc' }, { id: 'asc' }] }),
  }
}

/** Orders those who make keys or move them on. */
export async function lockKeyRows(tx: Transaction): Promise<void> {
  await tx.$executeRaw`SELECT pg_advisory_xact_lock(hashtextextended('monk: key rows', 0))`
}

async function isPepperInUse(tx: Transaction, id: string): Promise<boolean> {
  return (
    (await tx.user.findFirst({ where: { passwordHash: { startsWith: `v1:${id}:` } }, select: { id: true } })) !== null
  )
}
