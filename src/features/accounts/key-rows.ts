import type { Clock } from '../../lib/clock.ts'
import type { NewId } from '../../lib/ids.ts'
import type { Prisma } from '../../generated/prisma/client.ts'
import type { Database, Transaction } from '../../platform/database/database.ts'
import type { Logger } from '../../platform/logger.ts'
import { createKeyEncryption, type KeyEncryption } from './key-encryption.ts'
import { decryptKey, keyPurposes, newKeyRow, type Key, type KeyMaterial, type KeyPurpose } from './key.ts'

/**
 * The keys of the server: rows that all processes share, encrypted with MONK_SECRET.
 *
 * | state    | signs, hashes, mints | verifies | in the JWKS |
 * |----------|----------------------|----------|-------------|
 * | NEXT     |                      | yes      | yes         |
 * | CURRENT  | yes                  | yes      | yes         |
 * | RETIRING |                      | yes      | yes         |
 * | RETIRED  |                      |          |             |
 *
 * A key goes down this table once. NEXT verifies already, for a process that has not yet seen that it became CURRENT.
 */
export interface KeyRows {
  /** The key that new things are made with. */
  current(purpose: KeyPurpose): Key
  /** The key with this id, when it may still verify. */
  find(purpose: KeyPurpose, id: string): Key | null
  /** All keys that may verify, oldest first. */
  usable(purpose: KeyPurpose): readonly Key[]
  /** Reads the rows again; it also happens by itself, every 10 s. */
  reload(): Promise<void>
  /** Stops reading the rows, and waits for a reading under way. */
  close(): Promise<void>
}

export type KeyRowsDeps = { db: Database; secret: string; clock: Clock; newId: NewId; logger: Logger }

const reloadEveryMs = 10_000

/**
 * Makes the keys that are missing (once, also when several processes start at the same moment), reads all, and keeps them
 * up to date until `close`. Throws WrongSecretError when the rows were encrypted with another secret.
 */
export async function openKeyRows({ db, secret, clock, newId, logger }: KeyRowsDeps): Promise<KeyRows> {
  const encryption = createKeyEncryption(secret)
  let keys = await readKeys(db, encryption, new Map())
  if (keyPurposes.some((purpose) => currentOf(keys, purpose) === undefined)) {
    const candidates = keyPurposes.map((purpose) => newKeyRow(purpose, { id: newId(), at: clock.now(), encryption }))
    await db.transaction((tx) => createMissing(tx, candidates))
    keys = await readKeys(db, encryption, keys)
  }

  let reloading: Promise<void> | undefined
  async function readAgain(): Promise<void> {
    keys = await readKeys(db, encryption, keys)
  }
  function reload(): Promise<void> {
    reloading ??= readAgain().finally(() => {
      reloading = undefined
    })
    return reloading
  }
  // A failure keeps the keys we have: they stay right for much longer than a database is usually away.
  const timer = setInterval(() => {
    void reload().catch((err: unknown) =>
      logger.warn({ err }, 'the keys could not be read again; the next time they are'),
    )
  }, reloadEveryMs).unref()

  return {
    current(purpose) {
      const key = currentOf(keys, purpose)
      if (key === undefined) throw new Error(`No key of ${purpose} is CURRENT.`)
      return key
    },
    find(purpose, id) {
      const key = keys.get(id)
      return key?.purpose === purpose ? key : null
    },
    usable: (purpose) => [...keys.values()].filter((key) => key.purpose === purpose),
    reload,
    async close() {
      clearInterval(timer)
      await reloading?.catch(() => undefined)
    },
  }
}

type KeysById = ReadonlyMap<string, Key>

function currentOf(keys: KeysById, purpose: KeyPurpose): Key | undefined {
  return [...keys.values()].find((key) => key.purpose === purpose && key.state === 'CURRENT')
}

/** `known` spares decrypting again what never changes. */
async function readKeys(db: Database, encryption: KeyEncryption, known: KeysById): Promise<KeysById> {
  const rows = await db.prisma.keyRow.findMany({ where: { state: { not: 'RETIRED' } }, orderBy: { id: 'asc' } })
  const keys = new Map<string, Key>()
  for (const { id, purpose, state, encryptedValue } of rows) {
    // A newer version of the program may have made keys of other purposes.
    if (!isKeyPurpose(purpose) || state === 'RETIRED') continue
    const material: KeyMaterial = known.get(id)?.material ?? decryptKey({ id, purpose, encryptedValue }, encryption)
    keys.set(id, { id, purpose, state, material })
  }
  return keys
}

function isKeyPurpose(purpose: string): purpose is KeyPurpose {
  return keyPurposes.some((known) => known === purpose)
}

type Candidate = Prisma.KeyRowCreateManyInput & { purpose: KeyPurpose }

async function createMissing(tx: Transaction, candidates: readonly Candidate[]): Promise<void> {
  await lockKeyRows(tx)
  const present = await tx.keyRow.findMany({ where: { state: 'CURRENT' }, select: { purpose: true } })
  const missing = candidates.filter((candidate) => !present.some(({ purpose }) => purpose === candidate.purpose))
  await tx.keyRow.createMany({ data: missing })
}

async function lockKeyRows(tx: Transaction): Promise<void> {
  await tx.$executeRaw`SELECT pg_advisory_xact_lock(hashtextextended('monk: key rows', 0))`
}
