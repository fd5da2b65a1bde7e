import type { Clock } from '../../lib/clock.ts'
import type { NewId } from '../../lib/ids.ts'
import type { Prisma } from '../../generated/prisma/client.ts'
import type { Database, Transaction } from '../../platform/database/database.ts'
import type { Logger } from '../../platform/logger.ts'
import { createKeyRotation, defaultKeyTimings, lockKeyRows, type KeyTimings } from './key-rotation.ts'
import { createKeyEncryption, type KeyEncryption } from './key-encryption.ts'
import { decryptKey, isKeyPurpose, keyPurposes, newKeyRow, type Key, type KeyMaterial, type KeyPurpose } from './key.ts'

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
  /** Takes the steps that are due and reads the rows again; it also happens by itself, every 10 s. */
  reload(): Promise<void>
  /** Stops reading the rows, and waits for a reading under way. */
  close(): Promise<void>
}

export type KeyRowsDeps = {
  db: Database
  secret: string
  clock: Clock
  newId: NewId
  logger: Logger
  /** Default: defaultKeyTimings. */
  timings?: KeyTimings | undefined
}

/**
 * Makes the keys that are missing (once, also when several processes start at the same moment), reads all, and keeps them
 * up to date until `close`; whenever it reads them it also takes the steps of a rotation that are due. Throws WrongSecretError when the rows were encrypted with another secret.
 */
export async function openKeyRows(deps: KeyRowsDeps): Promise<KeyRows> {
  const { db, secret, clock, newId, logger, timings = defaultKeyTimings } = deps
  const encryption = createKeyEncryption(secret)
  const rotation = createKeyRotation({ db, clock, newId, encryption, timings })
  let keys = await readKeys(db, encryption, new Map())
  if (keyPurposes.some((purpose) => currentOf(keys, purpose) === undefined)) {
    const candidates = keyPurposes.map((purpose) =>
      newKeyRow(purpose, { id: newId(), at: clock.now(), encryption, state: 'CURRENT' }),
    )
    await db.transaction((tx) => createMissing(tx, candidates))
    keys = await readKeys(db, encryption, keys)
  }

  let reloading: Promise<void> | undefined
  async function readAgain(): Promise<void> {
    await rotation.advance()
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
  }, timings.reloadEveryMs).unref()

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

type Candidate = Prisma.KeyRowCreateManyInput & { purpose: KeyPurpose }

async function createMissing(tx: Transaction, candidates: readonly Candidate[]): Promise<void> {
  await lockKeyRows(tx)
  const present = await tx.keyRow.findMany({ where: { state: 'CURRENT' }, select: { purpose: true } })
  const missing = candidates.filter((candidate) => !present.some(({ purpose }) => purpose === candidate.purpose))
  await tx.keyRow.createMany({ data: missing })
}
