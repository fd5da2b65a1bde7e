import { fsyncSync } from 'node:fs'
import { open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { PGlite } from '@electric-sql/pglite'
import { NodeFS } from '@electric-sql/pglite/nodefs'

export type OpenDurablyOptions = {
  /** It does not exist yet. */
  isNew: boolean
  /** Postgres gave up (the disk is full or broken). It must not return: what it goes back into is in ruins. */
  onAbort: (reason: string) => never
}

/**
 * Opens the Postgres in `folder`. What was acknowledged survives the end of the process and of the machine.
 *
 * PGlite (0.5) by itself runs with `fsync=off`, and its files have none to call: killing the process loses nothing, but a power
 * cut may lose the whole database. With it a commit takes 1 to 2 ms more on an SSD.
 */
export async function openDurably(folder: string, options: OpenDurablyOptions): Promise<PGlite> {
  if (options.isNew) await initialise(folder, options)
  else await checkVersion(folder)
  return openWithSync(folder, options)
}

const postgresVersion = '18'

// Another version would only say that it cannot be initialised.
async function checkVersion(folder: string): Promise<void> {
  const version = (await readFile(join(folder, 'PG_VERSION'), 'utf8')).trim()
  if (version === postgresVersion) return
  throw new Error(`the data in ${folder} is of PostgreSQL ${version}, and this program has ${postgresVersion} built in`)
}

// In a folder beside it first: what is under the final name is whole, also after an end half-way.
async function initialise(folder: string, options: OpenDurablyOptions): Promise<void> {
  const unfinished = `${folder}.new`
  await rm(unfinished, { recursive: true, force: true })
  const postgres = await openWithSync(unfinished, options)
  await postgres.close()
  await syncAll(unfinished)
  await rename(unfinished, folder)
  await sync(dirname(folder))
}

// -F is fsync=off. Of the methods only `fsync` reaches the files: fdatasync ends in a stub.
const settings = ['-c', 'fsync=on', '-c', 'wal_sync_method=fsync']
const startParams = [...PGlite.defaultStartParams.filter((parameter) => parameter !== '-F'), ...settings]

const openWithSync = (folder: string, { onAbort }: OpenDurablyOptions): Promise<PGlite> =>
  PGlite.create({ fs: new SyncedFiles(folder, onAbort), startParams })

class SyncedFiles extends NodeFS {
  readonly #onAbort: (reason: string) => never

  constructor(folder: string, onAbort: (reason: string) => never) {
    super(folder)
    this.#onAbort = onAbort
  }

  override async init(...[postgres, options]: Parameters<NodeFS['init']>): ReturnType<NodeFS['init']> {
    const { emscriptenOpts } = await super.init(postgres, options)
    const preRun = [...(emscriptenOpts.preRun ?? []), (module: PostgresModule) => giveFilesSync(module, this.#onAbort)]
    // PGlite takes the exception of an abort for an error of the statement, and would go on for ever.
    return { emscriptenOpts: { ...emscriptenOpts, preRun, onAbort: (what: unknown) => this.#onAbort(String(what)) } }
  }
}

type PostgresModule = Parameters<NonNullable<Parameters<NodeFS['init']>[1]['preRun']>[number]>[0]

// Emscripten calls it when the file system has it; Node's does not.
function giveFilesSync(module: PostgresModule, onAbort: (reason: string) => never): void {
  const operations: unknown = Reflect.get(module.FS.filesystems.NODEFS, 'stream_ops')
  if (typeof operations !== 'object' || operations === null) throw new Error('this is not the PGlite that we know')
  Reflect.set(operations, 'fsync', ({ nfd }: { nfd: number }) => {
    try {
      fsyncSync(nfd)
    } catch (error) {
      // Nobody knows what is on the disk now, so trying again would be a lie. (PostgreSQL panics here, too.)
      onAbort(`fsync: ${error instanceof Error ? error.message : String(error)}`)
    }
    return 0
  })
}

async function syncAll(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    await (entry.isDirectory() ? syncAll(path) : sync(path))
  }
  await sync(folder)
}

async function sync(path: string): Promise<void> {
  const file = await open(path, 'r')
  try {
    await file.sync()
  } finally {
    await file.close()
  }
}
