import { mkdtemp, readdir, readFile, rm, stat, writeFile, chmod } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { loadOrCreateSecret } from '../../src/platform/secret-file.ts'

describe('the secret file', () => {
  let folder: string
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'monk-secret-'))
  })
  afterEach(() => rm(folder, { recursive: true }))

  test('is made once, in a data directory that did not exist, and read from then on', async () => {
    const dataDir = join(folder, 'deep', 'data')
    const made = await loadOrCreateSecret(dataDir)
    expect(made).toMatch(/^[A-Za-z0-9_-]{43}$/)
    expect(await loadOrCreateSecret(dataDir)).toBe(made)
    expect(await readdir(dataDir)).toEqual(['secret'])
  })

  test('can be read by its owner only, also after a restore that lost the mode', async () => {
    await loadOrCreateSecret(folder)
    const path = join(folder, 'secret')
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    await chmod(path, 0o644)
    await loadOrCreateSecret(folder)
    expect((await stat(path)).mode & 0o777).toBe(0o600)
  })

  test('is the same for all who start at the same moment, and nothing is left beside it', async () => {
    const secrets = await Promise.all(Array.from({ length: 20 }, () => loadOrCreateSecret(folder)))
    expect(new Set(secrets).size).toBe(1)
    expect(await readdir(folder)).toEqual(['secret'])
  })

  test('is refused when it is not one, and left as it was', async () => {
    const path = join(folder, 'secret')
    await writeFile(path, 'short\n')
    await expect(loadOrCreateSecret(folder)).rejects.toThrow('does not hold a secret of at least 32 characters')
    expect(await readFile(path, 'utf8')).toBe('short\n')
  })
})
