import { createKeyEncryption } from '../features/accounts/key-encryption.ts'
import {
  createKeyRotation,
  defaultKeyTimings,
  type KeyListing,
  type KeyRotation,
} from '../features/accounts/key-rotation.ts'
import { openKeyRows } from '../features/accounts/key-rows.ts'
import { keyPurposes, type KeyPurpose } from '../features/accounts/key.ts'
import { systemClock } from '../lib/clock.ts'
import { newId } from '../lib/ids.ts'
import { UsageError, type Command } from './command.ts'
import { withInstallation } from './installation.ts'

const purposeNames = keyPurposes.join('|')
const usage = [
  'monk keys list                         every key and its state',
  `monk keys rotate [--purpose <purpose>] a new key for every purpose, or for one: ${purposeNames}`,
]

export const keys: Command = async ({ args, env, output }) => {
  const [action, ...rest] = args
  if (action === 'list' && rest.length === 0) return withRotation(env, async (rotation) => list(rotation, output))
  if (action === 'rotate') {
    const purposes = parsePurposes(rest)
    return withRotation(env, async (rotation) => {
      const made = await rotation.start(purposes)
      for (const key of made) output(`${key.purpose}  ${key.id}  ${key.state}`)
      const seconds = (defaultKeyTimings.publishForMs + defaultKeyTimings.reloadEveryMs) / 1_000
      output(`Running servers publish these keys now and sign with them in ${seconds} s at most; no request fails.`)
    })
  }
  throw new UsageError(usage)
}

async function withRotation(env: NodeJS.ProcessEnv, work: (rotation: KeyRotation) => Promise<void>): Promise<void> {
  await withInstallation(env, async ({ db, secret, logger }) => {
    const deps = { db, clock: systemClock, newId, timings: defaultKeyTimings }
    // Reads all keys, so that a wrong MONK_SECRET is found before a key is made with it.
    const rows = await openKeyRows({ ...deps, secret, logger })
    await rows.close()
    await work(createKeyRotation({ ...deps, encryption: createKeyEncryption(secret) }))
  })
}

async function list(rotation: KeyRotation, output: (line: string) => void): Promise<void> {
  const lines = (await rotation.list()).map(cellsOf)
  const header = ['PURPOSE', 'STATE', 'ID', 'MADE', 'SIGNS SINCE', 'RETIRING SINCE']
  const widths = header.map((name, column) =>
    Math.max(name.length, ...lines.map((cells) => cells[column]?.length ?? 0)),
  )
  for (const cells of [header, ...lines])
    output(
      cells
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
}

function cellsOf({ purpose, state, id, createdAt, activatedAt, retiringAt }: KeyListing): string[] {
  const timeOf = (time: Date | null): string => time?.toISOString() ?? '-'
  return [purpose, state, id, timeOf(createdAt), timeOf(activatedAt), timeOf(retiringAt)]
}

function parsePurposes(args: readonly string[]): readonly KeyPurpose[] {
  if (args.length === 0) return keyPurposes
  const [flag, name, ...rest] = args
  const purpose = keyPurposes.find((known) => known === name?.toUpperCase())
  if (flag !== '--purpose' || purpose === undefined || rest.length > 0) throw new UsageError(usage)
  return [purpose]
}
