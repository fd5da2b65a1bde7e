import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { delimiter, dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('..', import.meta.url))

/** Runs a Node program of the project's dependencies; ends this process with its code when it fails. */
export function run(title, script, args, env = {}) {
  console.log(title)
  // Some start others by name, which npm's own PATH would find.
  const PATH = [join(root, 'node_modules/.bin'), process.env.PATH].join(delimiter)
  const result = spawnSync(process.execPath, [join(root, 'node_modules', script), ...args], {
    cwd: root,
    env: { ...process.env, PATH, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    encoding: 'utf8',
  })
  if (result.error) throw result.error
  if (result.status === 0) return
  process.stderr.write(result.stdout + result.stderr)
  process.exit(result.status ?? 1)
}

/** All files under a folder (or the file itself), relative to the project; `accept` chooses by path. */
export function filesIn(path, accept = () => true) {
  const full = join(root, path)
  if (!existsSync(full)) return []
  if (statSync(full).isFile()) return [path]
  return readdirSync(full, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .filter(accept)
    .toSorted()
}

/** What these files contain, in short. */
export function fingerprint(files) {
  const hash = createHash('sha256')
  for (const file of files)
    hash
      .update(`${file}\n`)
      .update(readFileSync(join(root, file)))
      .update('\n')
  return hash.digest('hex')
}

/** Does `work` when `print` differs from what the stamp says of the last time. */
export function whenChanged({ stamp, print, force = false }, work) {
  const path = join(root, stamp)
  if (!force && existsSync(path) && readFileSync(path, 'utf8') === print) return
  work()
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, print)
}
