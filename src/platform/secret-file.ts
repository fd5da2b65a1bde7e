import { randomBytes, randomUUID } from 'node:crypto'
import { chmod, link, mkdir, open, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'

const fileName = 'secret'
const minLength = 32

/**
 * Returns the secret of an embedded installation: the text of `<dataDir>/secret`, made of 32 random bytes when there is none
 * yet. Only its owner may read the file. Processes that start at once all get the same secret, and a crash never leaves half
 * of one: the file appears whole, under its name, or not at all.
 *
 * Throws when the file cannot be written or read, or does not hold a secret.
 */
export async function loadOrCreateSecret(dataDir: string): Promise<string> {
  const path = join(dataDir, fileName)
  const existing = await readSecret(path)
  if (existing !== null) return existing
  await mkdir(dataDir, { recursive: true, mode: 0o700 })
  await createOnce(path, `${randomBytes(32).toString('base64url')}\n`)
  const created = await readSecret(path)
  if (created === null) throw new Error(`${path} was removed while it was being made.`)
  return created
}

async function readSecret(path: string): Promise<string | null> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null
    throw error
  })
  if (text === null) return null
  const secret = text.trim()
  if (secret.length < minLength) {
    throw new Error(
      `${path} does not hold a secret of at least ${minLength} characters. ` +
        'Restore it from a backup: the keys in this database can be read with no other.',
    )
  }
  // A restored backup may have lost the mode.
  await chmod(path, 0o600)
  return secret
}

// Linking fails when the name is taken, where renaming would replace the secret that another process has just made.
async function createOnce(path: string, text: string): Promise<void> {
  const temporaryPath = `${path}.${randomUUID()}`
  try {
    await writeDurably(temporaryPath, text)
    await link(temporaryPath, path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error
    })
  } finally {
    await rm(temporaryPath, { force: true })
  }
}

async function writeDurably(path: string, text: string): Promise<void> {
  const file = await open(path, 'wx', 0o600)
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
}
